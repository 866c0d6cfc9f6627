"""Paths given by users."""

from __future__ import annotations

from pathlib import Path

from lori_cl.errors import DataError


def expand_user(path: str | Path, what: str) -> Path:
    """Expand `~` and `~user` in a path; a shell does not expand them inside quotes.

    `what` names the setting in the error message.
    Raises: DataError, if the home folder does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{what} '{path}': {error}") from None
