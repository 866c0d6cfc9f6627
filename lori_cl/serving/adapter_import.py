"""Start a run from an existing adapter, which becomes the adapter of its first task."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lori_cl.adapters import read_external_adapter, read_metadata, read_tensors
from lori_cl.errors import InputError, one_line
from lori_cl.registry import Run, Task, Workspace
from lori_cl.runtime import Progress
from lori_cl.serving.model_card import HEAD_FILE
from lori_cl.spec import CurriculumSpec
from lori_cl.training import ImportedAdapter, RunOptions, import_adapter

log = logging.getLogger(__name__)


def import_folder(
    workspace: Workspace,
    folder: Path,
    curriculum: CurriculumSpec,
    name: str,
    mask_file: Path | None,
    options: RunOptions,
    progress: Progress,
) -> Run:
    """Start a run of a curriculum with the adapter in the folder as the adapter of its first task.

    A head for the task that `lori-cl export` wrote into the folder is imported too. If the task needs a head
    and the folder has none, a head is trained on the imported, frozen adapter.
    Raises: UnknownTask; InputError, if the folder or the curriculum does not fit. Nothing is stored then.
    """
    adapter = read_external_adapter(folder, mask_file)
    ours = curriculum.model.path
    if adapter.base_digest is None and adapter.base not in (None, ours):
        message = f"{folder} was trained on base model {adapter.base}, but the curriculum names {ours}"
        log.warning("%s", one_line(f"{message}; only the shapes of the two models can be compared"))
    with workspace.read() as registry:
        task = registry.task(curriculum.tasks[0])
    imported = ImportedAdapter(adapter, _head(folder, task))
    return import_adapter(workspace, curriculum, name, imported, options, progress)


def _head(folder: Path, task: Task) -> Mapping[str, Tensor] | None:
    """Return the state of the task's head, or None if the folder contains none."""
    wanted = HEAD_FILE.format(task=task.label)
    heads = {file.name: file for file in folder.iterdir() if file.name.endswith(HEAD_FILE.format(task=""))}
    if wanted in heads:
        return _reordered_state(heads[wanted], task)
    if heads:
        message = f"{folder} contains {', '.join(sorted(heads))} but no {wanted}"
        log.warning("%s", one_line(f"{message}: no head is imported for task '{task.label}'"))
    return None


def _reordered_state(file: Path, task: Task) -> Mapping[str, Tensor]:
    """Return the state of a head, with its rows in the order of the task's labels.

    The state of a file without labels in its metadata is returned unchanged.
    Raises: InputError, if the head has other labels.
    """
    state, metadata = read_tensors(file), read_metadata(file)
    if not isinstance(metadata, dict) or "labels" not in metadata:
        return state
    theirs, ours = metadata["labels"], list(task.spec.get("labels", ()))
    if not isinstance(theirs, list) or len(theirs) != len(ours) or any(each not in theirs for each in ours):
        raise InputError(
            f"{file} is a head for labels {theirs}, but task '{task.label}' has labels {ours}; remove the "
            "file to train a new head"
        )
    rows = [theirs.index(label) for label in ours]
    return {name: t[rows] if t.shape[:1] == (len(rows),) else t for name, t in state.items()}
