"""An adapter from elsewhere, as the first task of a new run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lori_cl.adapters import read_foreign, read_metadata, read_tensors
from lori_cl.errors import InputError, one_line
from lori_cl.registry import Run, Task, Workspace
from lori_cl.serving.beside import HEAD_FILE
from lori_cl.spec import CurriculumSpec
from lori_cl.training import Imported, Observer, RunOptions, import_adapter

log = logging.getLogger(__name__)


def import_folder(
    workspace: Workspace,
    folder: Path,
    curriculum: CurriculumSpec,
    name: str,
    mask_file: Path | None,
    options: RunOptions,
    observer: Observer,
) -> Run:
    """Begin the run of a curriculum with the adapter in the folder as its first task's.

    A head that `lori-cl export` wrote for the task into the folder is taken over; where there is none and the
    task needs one, it is trained with the adapter as it is.
    Raises: UnknownTask; InputError, if the folder or the curriculum does not fit; nothing is stored then.
    """
    adapter = read_foreign(folder, mask_file)
    ours = curriculum.model.path
    if adapter.base_digest is None and adapter.base not in (None, ours):
        told = f"{folder} was made for {adapter.base}, and the curriculum's base model is {ours}"
        log.warning("%s", one_line(f"{told}: that they are one model cannot be checked beyond their shapes"))
    with workspace.read() as registry:
        task = registry.task(curriculum.tasks[0])
    imported = Imported(adapter, _head(folder, task))
    return import_adapter(workspace, curriculum, name, imported, options, observer)


def _head(folder: Path, task: Task) -> Mapping[str, Tensor] | None:
    """The state of the task's head; None where the folder holds none of it."""
    wanted = HEAD_FILE.format(task=task.label)
    heads = {file.name: file for file in folder.iterdir() if file.name.endswith(HEAD_FILE.format(task=""))}
    if wanted in heads:
        return _in_order(heads[wanted], task)
    if heads:
        held = f"{folder} holds {', '.join(sorted(heads))} and no {wanted}"
        log.warning("%s", one_line(f"{held}: task '{task.label}' takes no head over"))
    return None


def _in_order(file: Path, task: Task) -> Mapping[str, Tensor]:
    """A head's state, its rows in the order of the task's labels; as it stands where it names no labels.

    Raises: InputError, if it tells other labels apart.
    """
    state, told = read_tensors(file), read_metadata(file)
    if not isinstance(told, dict) or "labels" not in told:
        return state
    theirs, ours = told["labels"], list(task.spec.get("labels", ()))
    if not isinstance(theirs, list) or len(theirs) != len(ours) or any(each not in theirs for each in ours):
        raise InputError(
            f"{file} is a head for the labels {theirs} and task '{task.label}' has {ours}; remove the file, "
            "and a head is trained"
        )
    rows = [theirs.index(label) for label in ours]
    return {name: t[rows] if t.shape[:1] == (len(rows),) else t for name, t in state.items()}
