"""A few families through the whole workflow; `python -m tests.families` tries all."""

from __future__ import annotations

from pathlib import Path

import pytest

from .configs import FAMILIES
from .expected import outcome

FEW = ["convbert", "longformer", "opt", "mixtral", "lfm2", "gemma3", "bert-as-causal"]


@pytest.mark.parametrize("name", FEW)
def test_a_family_runs_answers_and_exports_or_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    as_expected, said = outcome(tmp_path, FAMILIES[name])
    assert as_expected, said
