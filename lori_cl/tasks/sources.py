"""Where a task's rows come from: a local folder, or a hub data set through `datasets`."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from lori_cl.errors import DataError, first_line
from lori_cl.paths import expanded
from lori_cl.spec.complaints import shown
from lori_cl.spec.task import Source
from lori_cl.tasks.row_files import READERS, read_file
from lori_cl.tasks.rows import InvalidRows, Rows

DATA = "LORI_CL_DATA"
"""The environment variable with the folder where data is that is not beside its task's file."""


def read_split(source: Source, split: str, beside: Path, columns: Collection[str] | None = None) -> Rows:
    """Read a split of the local copy where it is there, or else of the hub's; only the named columns.

    `beside` is the folder of the task's file. Raises: DataError, if nothing is there, it is unreadable, or a
    relative path leads out of the folder that it is relative to.
    """
    roots = _roots(source, beside)
    invalid = InvalidRows(source.skip_invalid)
    for root, local in roots:
        try:
            folder = _inside(root, local)
            if folder.is_dir():
                return read_file(_inside(root, _file(folder, split)), columns, invalid)
        except OSError as error:
            raise DataError(f"{local}: cannot be read: {error.strerror}") from error
    if source.hub is None:
        tried = " and ".join(str(local) for _, local in roots)
        raise DataError(f"source.local '{source.local}' is no folder: looked for {tried}{_hint()}")
    return _read_hub(source, split, columns, invalid)


def _roots(source: Source, beside: Path) -> list[tuple[Path | None, Path]]:
    """(the folder that must not be left, where the data may lie); an absolute path may lie anywhere."""
    if source.local is None:
        return []
    local = expanded(source.local, "source.local")
    if local.is_absolute():
        return [(None, local)]
    return [(root, root / local) for root in (beside, *_data_folder())]


def _data_folder() -> list[Path]:
    """The folder that $LORI_CL_DATA names, where it is set."""
    named = os.environ.get(DATA)
    return [expanded(named, DATA)] if named else []


def _hint() -> str:
    """What to do about $LORI_CL_DATA where a source was not found."""
    named = os.environ.get(DATA)
    if not named:
        return f"; set {DATA} to the folder that holds your data"
    return "" if expanded(named, DATA).is_dir() else f"; {DATA} is '{named}', which is no folder: correct it"


def _inside(root: Path | None, path: Path) -> Path:
    """The path, if no `..` and no link on it leads out of the root.

    A task's file may come from anybody, and its relative path must not reach what its reader did not mean.
    """
    try:
        if root is None or path.resolve().is_relative_to(root.resolve()):
            return path
        leads = f"leads out of {root.resolve()}, to {path.resolve()}"
    except (RuntimeError, ValueError) as error:  # a link to itself; a null byte
        leads = f"leads nowhere ({first_line(error)})"
    raise DataError(f"{path} {leads}; name an absolute path in source.local, or set LORI_CL_DATA")


def _file(folder: Path, split: str) -> Path:
    """The one file that holds the split."""
    if Path(split).name != split:
        raise DataError(f"{folder}: the split {shown(split)} is no file's name")
    found = [folder / f"{split}{ending}" for ending in READERS if (folder / f"{split}{ending}").is_file()]
    if not found:
        stems = sorted({p.stem for p in folder.iterdir() if p.suffix in READERS})
        there = f" There are: {', '.join(stems)}." if stems else ""
        raise DataError(f"{folder}: no {split}.jsonl, .json, .csv or .parquet.{there}")
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(f"{folder}: {names} are both there; leave one, so that it is clear which is meant")
    return found[0]


def _read_hub(source: Source, split: str, columns: Collection[str] | None, invalid: InvalidRows) -> Rows:
    import datasets  # slow to import, and only the hub needs it

    assert source.hub is not None
    if Path(source.hub).exists():
        raise DataError(
            f"'{source.hub}' lies in this folder, and `datasets` would read it in place of the hub's data "
            "set of that name; work in another folder"
        )
    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(source.hub, source.config, split=split, revision=source.revision)
    except Exception as error:  # the hub's client raises what its transport raises
        raise DataError(f"hub data set '{source.hub}', split '{split}': {first_line(error)}") from error
    names = list(rows.column_names)
    if columns is not None:  # the others are never decoded: images, audio
        rows = rows.select_columns([name for name in names if name in columns])
    return Rows(rows, names, f"{source.hub}[{split}]", invalid=invalid)
