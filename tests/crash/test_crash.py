"""Crash trials in a small size; `python -m tests.crash --kills 1000 --faults all` is the nightly size."""

import subprocess
import sys


def trial(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_kills_at_random_times_change_no_result() -> None:
    assert "12 kills" in trial("--kills", "12")


def test_a_fault_at_a_sample_of_the_named_places_loses_nothing() -> None:
    assert "all survived" in trial("--faults", "sample")
