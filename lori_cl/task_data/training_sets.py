"""Training sets: read, tokenise and check a task's training examples, and detect changed data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lori_cl.digest import derive_seed
from lori_cl.errors import RunConflict, WorkspaceUnusable, first_line
from lori_cl.models.base_model import BaseModel
from lori_cl.registry import Registry, Task, Workspace, write_durably
from lori_cl.spec import CurriculumSpec, task_from_record
from lori_cl.strict_json import InvalidJSON, parse_json
from lori_cl.task_data.encoding import features_digest
from lori_cl.task_data.eval_tasks import eval_set_file, max_length_of
from lori_cl.tasks import (
    Example,
    examples_digest,
    from_jsonl,
    kind_of,
    near_duplicates_line,
    random_subset,
    require_no_duplicates,
    train_examples,
)


@dataclass(frozen=True)
class TrainingSet:
    """A task's training examples as token ids."""

    fields: Sequence[dict[str, Any]]
    digest: str
    """SHA-256 of the examples."""
    encoding: str
    """SHA-256 of their token ids."""
    n_truncated: int
    examples: Sequence[Example]
    source: Sequence[Example]
    """All training examples of the task, before `train.limit`."""


def prepare_training(
    workspace: Workspace, task: Task, curriculum: CurriculumSpec, base: BaseModel
) -> TrainingSet:
    """Read, check and tokenise a task's training examples.

    Raises: DataError, if the source is missing, empty or contains an invalid example.
    """
    spec = task_from_record(task.spec)
    kind = kind_of(spec)
    source = train_examples(spec, workspace.source_folder(task))
    seed = derive_seed(curriculum.seed, task.label, task.seed, "data")
    examples = random_subset(source, curriculum.train.limit, seed)
    max_length = max_length_of(curriculum, base.context)
    features = [kind.features(spec, base.tokenizer, example, max_length) for example in examples]
    fields = [feature.fields for feature in features]
    return TrainingSet(
        fields=fields,
        digest=examples_digest(examples),
        encoding=features_digest(fields),
        n_truncated=sum(feature.truncated for feature in features),
        examples=examples,
        source=source,
    )


def check_training(workspace: Workspace, task: Task, training_set: TrainingSet) -> str | None:
    """Check that no training example is in the frozen eval set; return a line about near duplicates.

    Raises: DataError, see `require_no_duplicates`.
    """
    spec = task_from_record(task.spec)
    held_out = from_jsonl(eval_set_file(workspace, task, spec))
    require_no_duplicates(spec, training_set.examples, held_out)
    return near_duplicates_line(spec, training_set.examples, held_out)


FILE = "training-data.json"
"""File beside a run's checkpoints: the training data's digest of the stage in progress, by task."""


def changed_since_first_use(registry: Registry, task: Task, training_set: TrainingSet) -> str | None:
    """Return a warning if the first stage that any run committed for this task had other training data.

    That stage's examples are drawn again from the current data, with its limit and seed.
    """
    first = registry.first_training(task.name, task.version)
    if first is None or "data" not in first.seeds:
        return None
    now = examples_digest(random_subset(training_set.source, first.limit, first.seeds["data"]))
    if now == first.train_digest:
        return None
    return (
        f"task '{task.label}': the training data changed: run '{first.run}' was trained on digest "
        f"{first.train_digest[:16]}… ({first.n_train:,} examples), and the source now gives {now[:16]}…, so "
        "their scores cannot be compared; restore the data, or add it as a task with another name"
    )


def check_same_data(workspace: Workspace, run: str, task: Task, training_set: TrainingSet) -> None:
    """Check that an interrupted stage is resumed with the training data that it was started with.

    Raises: RunConflict, with both digests.
    """
    folder = workspace.checkpoints / run
    recorded = _read(folder / FILE).get(task.label)
    if recorded not in (None, training_set.digest):
        raise RunConflict(
            f"run '{run}': stage '{task.label}' was started with training data of digest "
            f"{str(recorded)[:16]}…, and the source now gives {training_set.digest[:16]}…; restore the data, "
            f"or remove the folder {folder} to train the stage from its start on the current data"
        )


def note_data(workspace: Workspace, run: str, task: Task, training_set: TrainingSet) -> None:
    """Record the digest of the training data that a stage is started with.

    The file is removed with the stage's checkpoints.

    Raises: WorkspaceUnusable.
    """
    file = workspace.checkpoints / run / FILE
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(file, json.dumps({task.label: training_set.digest}).encode())
    except OSError as error:
        raise WorkspaceUnusable(f"{file} cannot be written: {error.strerror}") from error


def clear_data_note(workspace: Workspace, run: str) -> None:
    """Remove the stage's training data record, once the stage is trained and scored."""
    (workspace.checkpoints / run / FILE).unlink(missing_ok=True)


def _read(file: Path) -> Mapping[str, str]:
    try:
        found = parse_json(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, InvalidJSON, UnicodeDecodeError) as error:
        raise WorkspaceUnusable(f"{file} cannot be read: {first_line(error)}; remove it") from None
    return found if isinstance(found, dict) else {}
