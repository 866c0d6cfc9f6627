"""Reports as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lori_cl.errors import LoriError, WorkspaceUnusable

if TYPE_CHECKING:
    from lori_cl.reports import RunReport


def write_report(
    reports: Sequence[RunReport], path: str | Path | None = None, format_name: str | None = None
) -> bytes:
    """Render reports side by side; the content is written to `path` where one is given.

    Raises: InputError: there is no such format. WorkspaceUnusable: the file cannot be written. LoriError: the
    format of a plugin does not return bytes.
    """
    from lori_cl.reports import FORMATS

    suffix = "" if path is None else Path(path).suffix.removeprefix(".")
    name = format_name or suffix or "html"
    content = FORMATS.find(name)(reports)
    if not isinstance(content, bytes):
        raise LoriError(f"report format '{name}' returned {type(content).__name__}; it must return bytes")
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
