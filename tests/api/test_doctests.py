"""The example of every public object runs."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import lori_cl as cl

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    {module for module, _ in cl._PUBLIC.values()} | {"lori_cl.api.comparison", "lori_cl.api.interference"}
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # one example reads the registry in the repository
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("name", cl.__all__)
def test_every_public_name_has_an_example(name: str) -> None:
    docstring = getattr(cl, name).__doc__ or ""
    assert "Example:" in docstring
    assert doctest.DocTestParser().get_examples(docstring)
