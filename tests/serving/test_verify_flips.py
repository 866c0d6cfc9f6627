"""Flip single bits in a run's files and in the registry.

FLIPS=1000 in the environment flips more bits than the default 100; --log-cli-level=INFO shows the results.
"""

import logging
import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lori_cl import digest
from lori_cl.errors import LoriError, VerificationError
from lori_cl.registry import Registry, Run, Workspace, flatten
from lori_cl.runtime import SilentProgress
from lori_cl.serving.verify import verify

TrainRun = Callable[..., Run]
log = logging.getLogger(__name__)
FLIPS = int(os.environ.get("FLIPS", "100"))
ROUTED = {"batch_size": 4, "views": ["as_trained", "current", "routed"]}

TIMES = {"created_at", "committed_at", "elapsed_s", "train_s"}
UNVERIFIABLE = {
    "run": {"base_path", "environment", *TIMES},
    "tasks": {"declared_in", *TIMES},
    "stages": {"final_loss", "peak_memory_bytes", "environment", "retired_after", *TIMES},
    "evaluations": TIMES,
    "curriculum": {
        "name",
        "model.path",
        "train.loggers",
        "train.save_steps",
        "eval.batch_size",
        "eval.limit",
    },
}
"""Fields that no stored data can verify: times, places, environments, the loss, a retirement that no later
stage records, and a limit without effect."""


def check_all(workspace: Workspace, registry: Registry) -> None:
    assert len(list(verify(workspace, registry, "run", SilentProgress()))) > 10


def verifiable_records(workspace: Workspace) -> dict[str, Any]:
    """Return everything that the registry records about the run, without the unverifiable fields."""
    with workspace.read() as registry:
        run = asdict(registry.run("run"))
        records_by_part = {
            "tasks": run.pop("tasks"),
            "stages": run.pop("stages"),
            "curriculum": [flatten(run.pop("curriculum"))],
            "run": [run],
            "evaluations": [asdict(evaluation) for evaluation in registry.evaluations("run")],
            "statistics": [asdict(statistics) for statistics in registry.statistics("run")],
        }
    return {
        part: [_verifiable_fields(record, UNVERIFIABLE.get(part, set())) for record in records]
        for part, records in records_by_part.items()
    }


def _verifiable_fields(record: dict[str, Any], unverifiable: set[str]) -> dict[str, Any]:
    """Round floats to eight digits: another CPU may sum in another order."""
    verifiable = {field: value for field, value in record.items() if field not in unverifiable}
    return {
        field: round(value, 8) if isinstance(value, float) else value for field, value in verifiable.items()
    }


@contextmanager
def flipped(file: Path, bit: int) -> Iterator[None]:
    """Flip one bit of the file within this context."""
    before = file.read_bytes()
    content = bytearray(before)
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)


def test_every_flipped_bit_in_a_file_is_detected_with_stage_and_digests(
    train_run: TrainRun, workspace: Workspace
) -> None:
    train_run("a", "b", eval=ROUTED)
    files, draw = sorted((workspace.root / "artifacts").iterdir()), random.Random(0)
    with workspace.read() as registry:
        for _ in range(FLIPS):
            file = draw.choice(files)
            with flipped(file, draw.randrange(8 * file.stat().st_size)):
                with pytest.raises(VerificationError) as found:
                    check_all(workspace, registry)
                both = f"{digest.of_file(file)}, and the registry says {file.stem}"
            assert re.match(r"stage \d", str(found.value))
            assert f"the digest of {file} is {both}" in str(found.value)
        check_all(workspace, registry)
    log.info("%d bits flipped in %d files, one at a time: all found", FLIPS, len(files))


def test_flipped_bit_in_the_registry_is_detected_or_changes_nothing_verifiable(
    train_run: TrainRun, workspace: Workspace
) -> None:
    train_run("a", "b", eval=ROUTED)
    before, file, draw = verifiable_records(workspace), workspace.root / "registry.db", random.Random(0)
    used = [place for place, byte in enumerate(file.read_bytes()) if byte]  # most zero bytes belong to no row
    found = 0
    for _ in range(FLIPS):
        bit = 8 * draw.choice(used) + draw.randrange(8)
        with flipped(file, bit):
            try:
                with workspace.read() as registry:
                    check_all(workspace, registry)
            except LoriError:
                found += 1
            else:
                assert verifiable_records(workspace) == before, (
                    f"bit {bit} of registry.db changed this unnoticed"
                )
    log.info(
        "%d bits flipped in registry.db, one at a time: %d found, and %d that change nothing",
        FLIPS,
        found,
        FLIPS - found,
    )
