"""Reports as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lori_cl.errors import InputError, WorkspaceUnusable, suggestion

if TYPE_CHECKING:
    from lori_cl.reports import RunReport


def write_report(
    reports: Sequence[RunReport], path: str | Path | None = None, format_name: str | None = None
) -> bytes:
    """Render reports side by side; the content is written to `path` where one is given.

    Raises: InputError: there is no such format. WorkspaceUnusable: the file cannot be written.
    """
    from lori_cl.reports import FORMATS

    suffix = "" if path is None else Path(path).suffix.removeprefix(".")
    name = format_name or suffix or "html"
    if name not in FORMATS:
        raise InputError(
            f"unknown report format '{name}' (available: {', '.join(FORMATS)}).{suggestion(name, FORMATS)}"
        )
    content = FORMATS[name](reports)
    if path is not None:
        write_file(path, content)
    return content


def write_file(path: str | Path, content: bytes) -> None:
    """Write a report or a receipt to a file.

    Raises: WorkspaceUnusable: the file cannot be written.
    """
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        raise WorkspaceUnusable(f"{path} cannot be written: {error.strerror}") from error
