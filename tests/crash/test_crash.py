"""What the driver does, in CI's size; see `python -m tests.crash --help`."""

import subprocess
import sys


def trial(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_fifty_kills_at_random_times_change_nothing_of_what_comes_out() -> None:
    assert "50 kills" in trial("--kills", "50")


def test_a_fault_at_each_named_place_loses_nothing() -> None:
    assert "all survived" in trial("--faults", "one-of-each")
