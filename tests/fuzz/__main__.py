"""python -m tests.fuzz --seconds 600: fuzz every target for an equal share of the time."""

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
class TargetResult:
    """The result of fuzzing one target."""

    inputs: int
    coverage: int | None
    """Covered edges of lori_cl and PyYAML, as libFuzzer counts them."""
    found: Sequence[Path]
    """The inputs that caused findings."""
    escaped: bool
    """True if anything outside the target's folder changed."""
    log: str


def main() -> int:
    """Fuzz, print one line per target, and save the findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="total time for all targets")
    parser.add_argument("--jobs", type=int, default=1, help="number of targets fuzzed in parallel")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--target", action="append", choices=[*TARGETS], help="fuzz only this target; may be repeated"
    )
    parser.add_argument(
        "--found", type=Path, default=Path("fuzz-found"), help="folder for the inputs of findings"
    )
    options = parser.parse_args()
    if find_spec("atheris") is None:
        print(MISSING, file=sys.stderr)
        return 2
    targets = options.target or list(TARGETS)
    outcomes = []
    share = max(1, options.seconds // len(targets))
    with ThreadPoolExecutor(options.jobs) as pool:
        for target, outcome in zip(
            targets,
            pool.map(lambda name: fuzz(name, share, options.seed, options.found), targets),
            strict=True,
        ):
            print(line(target, outcome), flush=True)
            outcomes.append(outcome)
    inputs = sum(outcome.inputs for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.found or outcome.escaped]
    print(f"{inputs:,} inputs, {len(failed)} of {len(targets)} targets with findings")
    for outcome in failed:
        print(outcome.log)
    return 1 if failed else 0


def fuzz(
    target: str, seconds: int, seed: int, keep: Path, child: Sequence[str] = ("-m", "tests.fuzz.child")
) -> TargetResult:
    """Fuzz one target in a new process and folder; `child` are the arguments of the new interpreter."""
    with tempfile.TemporaryDirectory(prefix="lori_cl-fuzz-") as name:
        folder = Path(name)
        for part in ("inside", "outside", "found"):
            (folder / part).mkdir()
        for split in ("train", "test"):
            (folder / "outside" / f"{split}.jsonl").write_text('{"text": "secret", "label": "red"}\n')
        working = [folder / part for part in ("inside", "found", "grown")]
        before = _surroundings(folder, working)
        command = [sys.executable, *child, target, name, str(seconds), str(seed)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **QUIET},
            check=False,
        )
        found = [_save(file, keep, target) for file in sorted((folder / "found").iterdir())]
        succeeded = done.returncode == 0
        if not succeeded and not found:
            found = [_save_log(done.stderr, keep, target)]
        return TargetResult(
            inputs=_last_number(r"stat::number_of_executed_units: (\d+)|^#(\d+)", done.stderr) or 0,
            coverage=_last_number(r"cov: (\d+)", done.stderr),
            found=found,
            escaped=_surroundings(folder, working) != before,
            log="" if succeeded else done.stderr[-3000:],
        )


def line(target: str, outcome: TargetResult) -> str:
    """Return the line that reports a target's result."""
    coverage = "no coverage" if outcome.coverage is None else f"coverage {outcome.coverage:,}"
    saved = "".join(f"\n  {file}" for file in outcome.found)
    escaped = "\n  something outside its folder changed" if outcome.escaped else ""
    found = f"{len(outcome.found)} findings{saved}{escaped}"
    return f"{target:<12}{outcome.inputs:>10,} inputs   {coverage:<16} {found}"


def _surroundings(folder: Path, working: Sequence[Path]) -> dict[str, str]:
    """Return the listing of the folder without its working folders."""
    return {
        path: what
        for path, what in listing(folder, working[0]).items()
        if not any((folder / path).is_relative_to(part) for part in working)
    }


def _save(file: Path, keep: Path, target: str) -> Path:
    keep.mkdir(parents=True, exist_ok=True)
    saved = keep / f"{target}-{file.name}"
    saved.write_bytes(file.read_bytes())
    return saved


def _save_log(log: str, keep: Path, target: str) -> Path:
    keep.mkdir(parents=True, exist_ok=True)
    saved = keep / f"{target}-log.txt"
    saved.write_text(log)
    return saved


def _last_number(pattern: str, text: str) -> int | None:
    numbers = [next(filter(None, match.groups())) for match in re.finditer(pattern, text, re.MULTILINE)]
    return int(numbers[-1]) if numbers else None


if __name__ == "__main__":
    sys.exit(main())
