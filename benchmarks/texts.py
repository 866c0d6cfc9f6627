"""Real-text tasks of the benchmarks, and the metrics of their runs.

$LORI_CL_DATA has one folder per task. To choose a setting, a benchmark holds back the last rows of the train
file and scores on them, so that the choice never uses the test set.
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
from lori_cl.task_data import register_tasks

ROOT = Path(__file__).parent.parent
CURRICULUM = ROOT / "examples" / "real_text" / "curriculum.yaml"
DEV = 256
"""Rows of each train file that are held back."""
LONGEST = 140
"""Maximum characters of a run's name."""
METRICS = ("acc", "bwt", "learning_accuracy")
ORDERS = {
    "five": ["sst2", "agnews", "qqp", "mnli", "amazon"],
    "ten-a": ["sst2", "agnews", "qqp", "mnli", "amazon", "rte", "wic", "boolq", "cb", "copa"],
    "ten-b": ["boolq", "amazon", "copa", "mnli", "cb", "wic", "rte", "qqp", "agnews", "sst2"],
}


def workspace_of(root: Path, tasks: Sequence[str], dev: int) -> Workspace:
    """Create a workspace with these tasks, scored on `dev` rows of train, or on the test sets if 0."""
    workspace = Workspace(root)
    workspace.create()
    declared = [ROOT / "tasks" / "cl_bench" / f"{task}.yaml" for task in tasks]
    register_tasks(workspace, [_split(file, root / "data", dev) for file in declared] if dev else declared)
    return workspace


def _split(declared: Path, target: Path, dev: int) -> Path:
    """Split one train file into a train and a test file, and write the task that refers to them."""
    source = Path(os.environ["LORI_CL_DATA"]) / declared.stem
    rows = (source / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    folder = target / declared.stem
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.jsonl").write_text("".join(rows[:-dev]), encoding="utf-8")
    (folder / "test.jsonl").write_text("".join(rows[-dev:]), encoding="utf-8")
    file = target / declared.name
    # One held-back row of sst2 equals a training row except for its punctuation.
    task = {**yaml.safe_load(declared.read_text(encoding="utf-8")), "allow_duplicates": True}
    file.write_text(yaml.safe_dump(task), encoding="utf-8")
    return file


def run_name(*parts: str) -> str:
    """Return a run's name made of its distinguishing parts; a name too long for a file ends in a digest."""
    name = re.sub(r"[^\w-]+", "-", "-".join(parts)).strip("-")
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{of_json(name)[:8]}"


def metrics(workspace: Workspace, run: str) -> dict[str, Any]:
    """Return the metrics of a finished run by view."""
    with workspace.read() as registry:
        views = to_record(gather(registry, run))["views"]
    return {view: found["metrics"] for view, found in views.items()}


def figures(workspace: Workspace, run: str) -> dict[str, float]:
    """Return the metrics of a finished run in the view `current`, in percent."""
    found = metrics(workspace, run)["current"]
    return {name: 100 * found[name] for name in METRICS}
