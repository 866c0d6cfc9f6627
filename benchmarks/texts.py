"""The real texts that benchmarks learn, and what came of it.

$LORI_CL_DATA holds a folder a task. The last rows of its train file, where some are set aside, are what is
scored, so that the test sets are never looked at where something is chosen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lori_cl.digest import of_json
from lori_cl.registry import Workspace
from lori_cl.reports import gather, to_record
from lori_cl.training import enrol

ROOT = Path(__file__).parent.parent
CURRICULUM = ROOT / "examples" / "real_text" / "curriculum.yaml"
DEV = 256
"""Rows of each train file that are set aside."""
LONGEST = 140
"""Characters of a run's name."""
METRICS = ("acc", "bwt", "learning_accuracy")
ORDERS = {
    "five": ["sst2", "agnews", "qqp", "mnli", "amazon"],
    "ten-a": ["sst2", "agnews", "qqp", "mnli", "amazon", "rte", "wic", "boolq", "cb", "copa"],
    "ten-b": ["boolq", "amazon", "copa", "mnli", "cb", "wic", "rte", "qqp", "agnews", "sst2"],
}


def workspace_of(root: Path, tasks: Sequence[str], dev: int) -> Workspace:
    """A workspace with these tasks, scored on so many rows of train; on their test sets, where that is 0."""
    workspace = Workspace(root)
    workspace.create()
    declared = [ROOT / "tasks" / "cl_bench" / f"{task}.yaml" for task in tasks]
    enrol(workspace, [_split(file, root / "data", dev) for file in declared] if dev else declared)
    return workspace


def _split(declared: Path, target: Path, dev: int) -> Path:
    """Write train and test files out of one train file, and the task that names them."""
    source = Path(os.environ["LORI_CL_DATA"]) / declared.stem
    rows = (source / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    folder = target / declared.stem
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.jsonl").write_text("".join(rows[:-dev]), encoding="utf-8")
    (folder / "test.jsonl").write_text("".join(rows[-dev:]), encoding="utf-8")
    file = target / declared.name
    file.write_text(yaml.safe_dump(yaml.safe_load(declared.read_text(encoding="utf-8"))), encoding="utf-8")
    return file


def run_name(*parts: str) -> str:
    """A run's name out of all that tells it from others; what is too long for a file's ends in a digest."""
    name = re.sub(r"[^\w-]+", "-", "-".join(parts)).strip("-")
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{of_json(name)[:8]}"


def metrics(workspace: Workspace, run: str) -> dict[str, Any]:
    """By view, a finished run's metrics."""
    with workspace.read() as registry:
        views = to_record(gather(registry, run))["views"]
    return {view: found["metrics"] for view, found in views.items()}


def figures(workspace: Workspace, run: str) -> dict[str, float]:
    """What it comes to in `current`, in percent."""
    found = metrics(workspace, run)["current"]
    return {name: 100 * found[name] for name in METRICS}
