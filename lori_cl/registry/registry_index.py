"""The list of registries that keep runs in a workspace; each registry refers only to its own files."""

from __future__ import annotations

from pathlib import Path

from lori_cl.errors import WorkspaceUnusable, first_line
from lori_cl.registry.safe_paths import open_inside


def add_registry(file: Path, registry: str) -> None:
    """Add a registry to the file, which lists one per line.

    Raises: WorkspaceUnusable.
    """
    if registry in listed_registries(file):
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open_inside(file.parent, file, "a") as lines:
            lines.write(f"{registry}\n")
    except OSError as error:
        raise WorkspaceUnusable(f"{file} cannot be written: {error.strerror}") from error


def listed_registries(file: Path) -> set[str]:
    """Return the registries listed in the file; an empty set if the file does not exist.

    Raises: WorkspaceUnusable.
    """
    try:
        with open_inside(file.parent, file, "r") as lines:
            return set(lines.read().splitlines())
    except FileNotFoundError:
        return set()
    except (OSError, ValueError) as error:
        raise WorkspaceUnusable(f"{file} cannot be read: {first_line(error)}") from error
