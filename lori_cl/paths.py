"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

from lori_cl.errors import DataError


def expanded(path: str | Path, what: str) -> Path:
    """The path with `~` and `~user` replaced by a home folder; a shell leaves them where they are quoted.

    Raises: DataError, naming `what` holds the path, if there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{what} '{path}': {error}") from None
