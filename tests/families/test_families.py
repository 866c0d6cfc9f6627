"""The workflow for a few families; all of them in the nightly job, or with `python -m tests.families`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nightly import only_in_ci

from .configs import FAMILIES
from .expected import outcome

SAMPLE = ["mixtral", "bert-as-causal", "bart"]


@pytest.mark.parametrize("name", only_in_ci(SAMPLE, FAMILIES))
def test_family_completes_the_workflow_or_is_refused_with_a_one_line_error(tmp_path: Path, name: str) -> None:
    as_expected, result = outcome(tmp_path, FAMILIES[name])
    assert as_expected, result
