"""An adapter from elsewhere, as the first task of a new run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lori_cl.adapters import read_foreign, read_tensors
from lori_cl.registry import Run, Workspace
from lori_cl.serving.export import HEAD_FILE
from lori_cl.spec import CurriculumSpec
from lori_cl.training import Brought, Observer, RunOptions, import_adapter


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
    Raises: InputError, if the folder or the curriculum does not fit; nothing is stored then.
    """
    adapter = read_foreign(folder, mask_file)
    head = _head(folder, HEAD_FILE.format(task=curriculum.tasks[0]))
    return import_adapter(workspace, curriculum, name, Brought(adapter, head), options, observer)


def _head(folder: Path, name: str) -> Mapping[str, Tensor] | None:
    file = next((file for file in folder.iterdir() if file.name == name), None)  # a name with `..` is none's
    if file is None or not file.is_file():
        return None
    return read_tensors(file)
