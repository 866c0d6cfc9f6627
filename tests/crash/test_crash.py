"""Crash trials in a small size; `python -m tests.crash --kills 1000 --faults all` is the full size."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def summary() -> str:
    """Run a few trials of both kinds in one process, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", "--kills", "10", "--faults", "sample"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_runs_killed_at_random_times_match_uninterrupted_runs(summary: str) -> None:
    assert "10 kills" in summary


def test_run_survives_a_fault_at_a_sample_of_the_named_places(summary: str) -> None:
    assert "full disks, all survived" in summary
