"""Paths below a workspace: a link that leads out of it is refused before anything is read or written there.

A workspace from another user may contain links. Every read, write and deletion below a workspace goes through
one of these functions, immediately before the file is used.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Literal

from lori_cl.errors import WorkspaceUnusable, first_line

Mode = Literal["r", "w", "a"]
FLAGS: Mapping[Mode, int] = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
}


def require_inside(root: Path, path: Path) -> None:
    """Make sure that no link and no `..` on the path leads out of the root, which may be a link itself.

    Raises: WorkspaceUnusable.
    """
    try:
        if path.resolve().is_relative_to(root.resolve()):
            return
        where = f"to {path.resolve()}"
    except (RuntimeError, OSError, ValueError) as error:  # a link to itself; a name no file can bear
        where = first_line(error)
    raise WorkspaceUnusable(
        f"{str(path)[:200]} leads out of {root.resolve()} ({where}), where nothing is read or written; "
        "put the file or folder itself there, or name the other place: --workspace, --registry"
    )


def require_tree_inside(root: Path, folder: Path, *, own_files: bool = False) -> None:
    """Make sure that neither the folder nor any link in it leads out of the root.

    For a folder that another library writes: it opens the files by their names. With `own_files`, no file in
    it may have a second name either, see `require_own_file`.
    Raises: WorkspaceUnusable.
    """
    require_inside(root, folder)
    for place, folders, files in os.walk(folder):  # which follows no link
        for path in (Path(place, name) for name in (*folders, *files)):
            if path.is_symlink():
                require_inside(root, path)
            elif own_files:
                require_own_file(path)


def require_file_name(name: str) -> str:
    """The name of a run as the name of a file or folder.

    Raises: WorkspaceUnusable, if it is a path or cannot be a name.
    """
    if name in {"", ".", ".."} or {"/", "\\", "\0"} & set(name):
        raise WorkspaceUnusable(f"the run name {name[:80]!r} is no file name; name the run without / and \\")
    return name


def require_own_file(path: Path) -> None:
    """Make sure that a file that is changed in place has no second name (hard link) that would change too.

    Raises: WorkspaceUnusable.
    """
    try:
        status = path.lstat()
    except OSError:  # it is not there yet, or opening it says what is wrong
        return
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        raise WorkspaceUnusable(
            f"{path} has {status.st_nlink} names (hard links), and writing it would change the file under "
            f"each; make it a file of its own: cp {path.name} copy && mv copy {path.name}"
        )


def open_inside(root: Path, path: Path, mode: Mode) -> IO[str]:
    """Open a text file below the root, to read ('r'), replace ('w') or append ('a').

    A link at its name is refused when it leads out, or is put there at the last moment; a pipe is not waited
    at. Raises: WorkspaceUnusable; OSError, as `open`.
    """
    require_inside(root, path)
    if mode != "r":
        require_own_file(path)
    target = path.resolve()  # a link that stays inside is followed

    handle = os.open(target, FLAGS[mode] | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    return os.fdopen(handle, mode, encoding="utf-8")
