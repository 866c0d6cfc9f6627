"""Paths in a workspace: a link that leads out of it is refused before the file is used.

A workspace from another user may contain links. Every read, write and deletion in a workspace calls one of
these functions immediately before it uses the file.
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
    """Check that no link and no `..` in the path leads out of the root; the root itself may be a link.

    Raises: WorkspaceUnusable.
    """
    try:
        if path.resolve().is_relative_to(root.resolve()):
            return
        where = f"to {path.resolve()}"
    except (RuntimeError, OSError, ValueError) as error:  # a link to itself; an invalid file name
        where = first_line(error)
    raise WorkspaceUnusable(
        f"{str(path)[:200]} leads out of {root.resolve()} ({where}), so it is not used; "
        "replace the link with the file or folder itself, or set --workspace or --registry"
    )


def require_tree_inside(root: Path, folder: Path, *, own_files: bool = False) -> None:
    """Check that neither the folder nor any link in it leads out of the root.

    Used for folders in which another library opens files by name. With `own_files`, files with several hard
    links are refused too, see `require_own_file`.
    Raises: WorkspaceUnusable.
    """
    require_inside(root, folder)
    for place, folders, files in os.walk(folder):  # os.walk does not follow links
        for path in (Path(place, name) for name in (*folders, *files)):
            if path.is_symlink():
                require_inside(root, path)
            elif own_files:
                require_own_file(path)


def require_file_name(name: str) -> str:
    """Return the name of a run if it is a valid file name.

    Raises: WorkspaceUnusable, if it is a path or not a valid file name.
    """
    if name in {"", ".", ".."} or {"/", "\\", "\0"} & set(name):
        raise WorkspaceUnusable(
            f"the run name {name[:80]!r} is not a valid file name; use a name without / and \\"
        )
    return name


def require_own_file(path: Path) -> None:
    """Check that a file to be changed in place has no other hard link.

    Raises: WorkspaceUnusable.
    """
    try:
        status = path.lstat()
    except OSError:  # it does not exist yet, or opening it will fail
        return
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        raise WorkspaceUnusable(
            f"{path} has {status.st_nlink} hard links, so writing it would change the file under every name; "
            f"replace it with a copy: cp {path.name} copy && mv copy {path.name}"
        )


def open_inside(root: Path, path: Path, mode: Mode) -> IO[str]:
    """Open a text file in the root to read ('r'), replace ('w') or append ('a').

    A link that leads out of the root or is created after the check is refused. A pipe does not block.
    Raises: WorkspaceUnusable; OSError, as `open`.
    """
    require_inside(root, path)
    if mode != "r":
        require_own_file(path)
    target = path.resolve()  # links inside the root are followed

    handle = os.open(target, FLAGS[mode] | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    return os.fdopen(handle, mode, encoding="utf-8")
