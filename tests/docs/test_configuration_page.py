from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import pytest
from pydantic import Field

from lori_cl.spec import TASK_SPECS, CurriculumSpec
from lori_cl.spec.base import Count, Number
from tests.docs.pages import ROOT


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("generate_configuration")


def test_the_configuration_page_is_up_to_date(generator: ModuleType) -> None:
    assert generator.main(["--check"]) == 0, "run: python docs/generate_configuration.py"


def test_check_fails_on_a_stale_page_and_regenerating_fixes_it(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "PAGE", tmp_path / "configuration.md")
    assert generator.main(["--check"]) == 1
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    generator.PAGE.write_text(generator.PAGE.read_text().replace("`rank`", "`rnk`"))
    assert generator.main(["--check"]) == 1
    assert "configuration.md is stale" in capsys.readouterr().err


@pytest.mark.parametrize(
    "spec", [CurriculumSpec, *TASK_SPECS.built_in.values()], ids=lambda spec: spec.__name__
)
def test_the_page_lists_every_field_of_every_file(generator: ModuleType, spec: type) -> None:
    page = generator.page()
    fields = {name for section in generator.sections(spec, "") for name in section.cls.model_fields}
    assert [name for name in sorted(fields) if f"\n| `{name}` | " not in page] == []


def test_headings_of_the_page_are_unique(generator: ModuleType) -> None:
    headings = [line for line in generator.page().splitlines() if line.startswith("#")]
    assert len(headings) == len(set(headings))


def test_field_without_a_docstring_does_not_get_the_next_docstring(generator: ModuleType) -> None:
    docstrings = generator.docstrings(CurriculumSpec.model_fields["adapter"].annotation)
    assert "rank" not in docstrings
    assert docstrings["grow"].startswith("Rank")


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (str, "text"),
        (Count | None, "whole number ≥ 1 and < 2³¹, or empty (`null`)"),
        (Annotated[Number, Field(gt=0, le=1)], "number > 0 and ≤ 1"),
        (tuple[str, ...] | Literal["all"], "list of text or `all`"),
        (Literal["a", "b", "c"], "`a`, `b` or `c`"),
        (dict[str, float], "mapping from text to number"),
    ],
)
def test_types_are_described_in_words(generator: ModuleType, annotation: object, words: str) -> None:
    assert generator.type_words(annotation) == words
