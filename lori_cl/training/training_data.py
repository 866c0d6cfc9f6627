"""Whether a task is trained on the data that it was trained on before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lori_cl.errors import RunConflict, WorkspaceUnusable, first_line
from lori_cl.registry import Registry, Task, Workspace
from lori_cl.registry.artifacts import write_durably
from lori_cl.strict_json import NoJSON, decoded
from lori_cl.tasks import drawn, examples_digest
from lori_cl.training.preparation import TrainingSet

FILE = "training-data.json"
"""Beside a run's checkpoints: by task, the digest of the training data of the stage that is under way."""


def changed_since_first_use(registry: Registry, task: Task, training_set: TrainingSet) -> str | None:
    """A warning where the first stage that any run committed for this task had other training data.

    Its examples are drawn again, by its own limit and seed, from the data as it is now.
    """
    first = registry.first_training(task.name, task.version)
    if first is None or "data" not in first.seeds:
        return None
    now = examples_digest(drawn(training_set.source, first.limit, first.seeds["data"]))
    if now == first.train_digest:
        return None
    return (
        f"task '{task.label}': the training data changed: run '{first.run}' was trained on digest "
        f"{first.train_digest[:16]}… ({first.n_train:,} examples), and the source gives {now[:16]}… now, so "
        "their scores cannot be compared; restore the data, or add it as a task of another name"
    )


def check_same_data(workspace: Workspace, run: str, task: Task, training_set: TrainingSet) -> None:
    """Make sure that an interrupted stage is resumed with the training data that it was begun with.

    Raises: RunConflict, with both digests.
    """
    folder = workspace.checkpoints / run
    begun = _read(folder / FILE).get(task.label)
    if begun not in (None, training_set.digest):
        raise RunConflict(
            f"run '{run}': stage '{task.label}' was begun with training data of digest {str(begun)[:16]}…, "
            f"and the source gives {training_set.digest[:16]}… now; restore the data, or remove the folder "
            f"{folder} to train the stage from its start on the data as it is now"
        )


def note_data(workspace: Workspace, run: str, task: Task, training_set: TrainingSet) -> None:
    """Write down what a stage is begun with; it is removed with the stage's checkpoints.

    Raises: WorkspaceUnusable.
    """
    file = workspace.checkpoints / run / FILE
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(file, json.dumps({task.label: training_set.digest}).encode())
    except OSError as error:
        raise WorkspaceUnusable(f"{file} cannot be written: {error.strerror}") from error


def clear_data_note(workspace: Workspace, run: str) -> None:
    """Forget what the stage was begun with, once it is trained and scored."""
    (workspace.checkpoints / run / FILE).unlink(missing_ok=True)


def _read(file: Path) -> Mapping[str, str]:
    try:
        found = decoded(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, NoJSON, UnicodeDecodeError) as error:
        raise WorkspaceUnusable(f"{file} cannot be read: {first_line(error)}; remove it") from None
    return found if isinstance(found, dict) else {}
