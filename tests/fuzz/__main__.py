"""python -m tests.fuzz --seconds 600: every target, each for its share of the time."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.guard import listing
from tests.fuzz.targets import TARGETS

QUIET = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "0",
}

MISSING = "atheris is not installed; it comes with '.[dev]' on Linux, x86_64, Python 3.11 to 3.13"


@dataclass(frozen=True)
class Outcome:
    """What became of one target."""

    inputs: int
    coverage: int | None
    """Edges of lori_cl and PyYAML that were reached, as libFuzzer counts them."""
    found: Sequence[Path]
    """The inputs that must not do what they do."""
    escaped: bool
    """Whether anything outside the target's folder changed."""
    log: str


def main() -> int:
    """Fuzz, print a line a target, and keep what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--jobs", type=int, default=1, help="targets at the same time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--target", action="append", choices=[*TARGETS], help="this one alone; may be repeated"
    )
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="where inputs are kept")
    asked = parser.parse_args()
    if find_spec("atheris") is None:
        print(MISSING, file=sys.stderr)
        return 2
    targets = asked.target or list(TARGETS)
    outcomes = []
    share = max(1, asked.seconds // len(targets))
    with ThreadPoolExecutor(asked.jobs) as pool:
        for target, outcome in zip(
            targets, pool.map(lambda name: fuzz(name, share, asked.seed, asked.found), targets), strict=True
        ):
            print(line(target, outcome), flush=True)
            outcomes.append(outcome)
    inputs = sum(outcome.inputs for outcome in outcomes)
    wrong = [outcome for outcome in outcomes if outcome.found or outcome.escaped]
    print(f"{inputs:,} inputs, {len(wrong)} of {len(targets)} targets with findings")
    for outcome in wrong:
        print(outcome.log)
    return 1 if wrong else 0


def fuzz(
    target: str, seconds: int, seed: int, keep: Path, child: Sequence[str] = ("-m", "tests.fuzz.child")
) -> Outcome:
    """Fuzz one target in a process and a folder of its own; `child` is what Python is told to run there."""
    with tempfile.TemporaryDirectory(prefix="lori_cl-fuzz-") as name:
        folder = Path(name)
        for part in ("inside", "outside", "found"):
            (folder / part).mkdir()
        for split in ("train", "test"):
            (folder / "outside" / f"{split}.jsonl").write_text('{"text": "secret", "label": "red"}\n')
        working = [folder / part for part in ("inside", "found", "grown")]
        before = _around(folder, working)
        command = [sys.executable, *child, target, name, str(seconds), str(seed)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **QUIET},
            check=False,
        )
        found = [_kept(file, keep, target) for file in sorted((folder / "found").iterdir())]
        ended_well = done.returncode == 0
        if not ended_well and not found:
            found = [_kept_log(done.stderr, keep, target)]
        return Outcome(
            inputs=_last(r"stat::number_of_executed_units: (\d+)|^#(\d+)", done.stderr) or 0,
            coverage=_last(r"cov: (\d+)", done.stderr),
            found=found,
            escaped=_around(folder, working) != before,
            log="" if ended_well else done.stderr[-3000:],
        )


def line(target: str, outcome: Outcome) -> str:
    """A target's outcome for people."""
    coverage = "no coverage" if outcome.coverage is None else f"coverage {outcome.coverage:,}"
    kept = "".join(f"\n  {file}" for file in outcome.found)
    escaped = "\n  something outside its folder changed" if outcome.escaped else ""
    found = f"{len(outcome.found)} findings{kept}{escaped}"
    return f"{target:<12}{outcome.inputs:>10,} inputs   {coverage:<16} {found}"


def _around(folder: Path, working: Sequence[Path]) -> dict[str, str]:
    """What lies in the folder beside the folders that are worked in."""
    return {
        path: what
        for path, what in listing(folder, working[0]).items()
        if not any((folder / path).is_relative_to(part) for part in working)
    }


def _kept(file: Path, keep: Path, target: str) -> Path:
    keep.mkdir(parents=True, exist_ok=True)
    kept = keep / f"{target}-{file.name}"
    kept.write_bytes(file.read_bytes())
    return kept


def _kept_log(log: str, keep: Path, target: str) -> Path:
    keep.mkdir(parents=True, exist_ok=True)
    kept = keep / f"{target}-log.txt"
    kept.write_text(log)
    return kept


def _last(pattern: str, text: str) -> int | None:
    numbers = [next(filter(None, match.groups())) for match in re.finditer(pattern, text, re.MULTILINE)]
    return int(numbers[-1]) if numbers else None


if __name__ == "__main__":
    sys.exit(main())
