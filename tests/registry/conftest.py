from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lori_cl.registry import Registry, Workspace


@pytest.fixture(scope="session")
def empty_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new workspace with an empty registry, made once, since migrating takes its time."""
    root = tmp_path_factory.mktemp("empty") / "workspace"
    Workspace(root).create()
    return root


@pytest.fixture
def workspace(empty_workspace: Path, tmp_path: Path) -> Workspace:
    """A copy of the empty workspace."""
    return Workspace(Path(shutil.copytree(empty_workspace, tmp_path / "workspace")))


@pytest.fixture
def registry(workspace: Workspace) -> Iterator[Registry]:
    """The workspace's registry, open for writing."""
    with workspace.open() as opened:
        yield opened
