"""Which registries keep runs in a workspace: to each of them, the files of another one look like nobody's."""

from __future__ import annotations

from pathlib import Path

from lori_cl.errors import WorkspaceUnusable, first_line
from lori_cl.registry.safe_paths import open_inside


def note(file: Path, registry: str) -> None:
    """Add a registry to those that stand in the file, one a line.

    Raises: WorkspaceUnusable.
    """
    if registry in noted(file):
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open_inside(file.parent, file, "a") as lines:
            lines.write(f"{registry}\n")
    except OSError as error:
        raise WorkspaceUnusable(f"{file} cannot be written: {error.strerror}") from error


def noted(file: Path) -> set[str]:
    """The registries that stand in the file; none where there is none.

    Raises: WorkspaceUnusable.
    """
    try:
        with open_inside(file.parent, file, "r") as lines:
            return set(lines.read().splitlines())
    except FileNotFoundError:
        return set()
    except (OSError, ValueError) as error:
        raise WorkspaceUnusable(f"{file} cannot be read: {first_line(error)}") from error
