"""Read a task's rows from a local folder or file, or from a hub data set through `datasets`."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from lori_cl.errors import DataError, first_line
from lori_cl.paths import expand_user
from lori_cl.spec.error_messages import shown
from lori_cl.spec.task import Source
from lori_cl.tasks.row_files import READERS, read_file
from lori_cl.tasks.rows import InvalidRows, Rows

DATA = "LORI_CL_DATA"
"""The environment variable with the folder of data that is not next to its task file."""
ABSOLUTE = "use an absolute path in source.local, or set LORI_CL_DATA"
"""The advice if a path leads out of its folder."""


def read_split(
    source: Source,
    split: str,
    task_folder: Path,
    columns: Collection[str] | None = None,
    *,
    one_file: bool = False,
) -> Rows:
    """Read the given columns of a split, from the local copy if it exists, otherwise from the hub.

    `task_folder` is the folder of the task file. With `one_file`, `source.local` may be a data file, which is
    then the split. Raises: DataError, if there is no data, it is unreadable, or a relative path leads out of
    its base folder.
    """
    roots = _roots(source, task_folder)
    invalid = InvalidRows(source.skip_invalid)
    for root, local in roots:
        try:
            path = inside(root, local)
            if path.is_dir():
                return read_file(inside(root, _file(path, split)), columns, invalid)
            if path.is_file():
                return read_file(_data_file(path, one_file), columns, invalid)
        except OSError as error:
            raise DataError(f"{local}: cannot be read: {error.strerror}") from error
    if source.hub is None:
        tried = " and ".join(str(local) for _, local in roots)
        sort = "file" if Path(str(source.local)).suffix.lower() in READERS else "folder"
        raise DataError(f"source.local: no {sort} '{source.local}'; tried {tried}{_hint()}")
    return _read_hub(source, split, columns, invalid)


def _roots(source: Source, task_folder: Path) -> list[tuple[Path | None, Path]]:
    """Return pairs (base folder, candidate path); a path must stay in its base folder if it has one."""
    if source.local is None:
        return []
    local = expand_user(source.local, "source.local")
    if local.is_absolute():
        return [(None, local)]
    return [(root, root / local) for root in (task_folder, *_data_folder())]


def _data_folder() -> list[Path]:
    """Return the folder in $LORI_CL_DATA; empty if it is not set."""
    named = os.environ.get(DATA)
    return [expand_user(named, DATA)] if named else []


def _hint() -> str:
    """Return the advice about $LORI_CL_DATA for a source that was not found."""
    named = os.environ.get(DATA)
    if not named:
        return f"; set {DATA} to the folder that holds your data"
    return (
        ""
        if expand_user(named, DATA).is_dir()
        else f"; {DATA} is '{named}', which is not a folder: correct it"
    )


def inside(root: Path | None, path: Path, advice: str = ABSOLUTE) -> Path:
    """Return the path if neither `..` nor a link leads out of the root.

    A task file is untrusted input, so its relative path must not reach other files of the user.
    """
    try:
        if root is None or path.resolve().is_relative_to(root.resolve()):
            return path
        problem = f"leads out of {root.resolve()}, to {path.resolve()}"
    except (RuntimeError, ValueError) as error:  # a circular link; a null byte
        problem = f"cannot be resolved ({first_line(error)})"
    raise DataError(f"{path} {problem}; {advice}")


def _data_file(path: Path, allowed: bool) -> Path:
    """Return the path of a data file that `source.local` names."""
    if path.suffix.lower() not in READERS:
        raise DataError(f"{path}: not a data file; source.local is a folder, or a {_endings()} file")
    if not allowed:
        raise DataError(
            f"{path} is one file for both splits; add `eval: {{fraction: 0.1}}` to hold out a tenth of its "
            "rows as the eval set, or name a folder with train.* and test.*"
        )
    return path


def _endings() -> str:
    """Return '.jsonl, .json, … or .parquet'."""
    *others, last = READERS
    return f"{', '.join(others)} or {last}"


def _file(folder: Path, split: str) -> Path:
    """Return the only file of the split."""
    if Path(split).name != split:
        raise DataError(f"{folder}: the split {shown(split)} is not a file name")
    found = [folder / f"{split}{ending}" for ending in READERS if (folder / f"{split}{ending}").is_file()]
    if not found:
        stems = sorted({p.stem for p in folder.iterdir() if p.suffix in READERS})
        available = f" Available: {', '.join(stems)}." if stems else ""
        raise DataError(f"{folder}: no {split}{_endings()}.{available}")
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(f"{folder}: ambiguous split: {names} exist; remove all but one")
    return found[0]


def _read_hub(source: Source, split: str, columns: Collection[str] | None, invalid: InvalidRows) -> Rows:
    import datasets  # slow to import, and only needed for the hub

    assert source.hub is not None
    if Path(source.hub).exists():
        raise DataError(
            f"'{source.hub}' exists in the current folder, and `datasets` would read it instead of the hub "
            "data set; run in another folder"
        )
    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(source.hub, source.config, split=split, revision=source.revision)
    except Exception as error:  # the hub client also raises the errors of its transport
        raise DataError(f"hub data set '{source.hub}', split '{split}': {first_line(error)}") from error
    names = list(rows.column_names)
    if columns is not None:  # do not decode other columns, such as images and audio
        rows = rows.select_columns([name for name in names if name in columns])
    return Rows(rows, names, f"{source.hub}[{split}]", invalid=invalid)
