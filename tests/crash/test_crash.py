"""Crash trials in a small size; `python -m tests.crash --kills 1000 --faults all` is the nightly size."""

import subprocess
import sys


def run_crash_test(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_runs_killed_at_random_times_match_uninterrupted_runs() -> None:
    assert "12 kills" in run_crash_test("--kills", "12")


def test_run_survives_a_fault_at_a_sample_of_the_named_places() -> None:
    assert "all survived" in run_crash_test("--faults", "sample")
