from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lori_cl.registry import Registry, Workspace
from tests.postgres import Postgres


@pytest.fixture(scope="session")
def empty_database(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the name of a database with an empty registry."""
    with postgres.database() as url:
        Workspace(tmp_path_factory.mktemp("empty"), url).create()
        yield url.rpartition("/")[2]


@pytest.fixture
def sqlite_workspace(empty_workspace: Path, tmp_path: Path) -> Workspace:
    """Return a copy of the empty workspace, with its registry in registry.db."""
    return Workspace(Path(shutil.copytree(empty_workspace, tmp_path / "workspace")))


@pytest.fixture
def postgresql_workspace(postgres: Postgres, empty_database: str, tmp_path: Path) -> Iterator[Workspace]:
    """Yield a workspace with an empty registry in PostgreSQL."""
    (tmp_path / "workspace").mkdir()
    with postgres.database(empty_database) as url:
        yield Workspace(tmp_path / "workspace", url)


@pytest.fixture
def sqlite_uncreated_workspace(tmp_path: Path) -> Workspace:
    """Return a workspace that is not created yet, with its registry in registry.db."""
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def postgresql_uncreated_workspace(postgres: Postgres, tmp_path: Path) -> Iterator[Workspace]:
    """Yield a workspace that is not created yet, with its registry in PostgreSQL."""
    with postgres.database() as url:
        yield Workspace(tmp_path / "workspace", url)


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """Return each supported database backend in turn."""
    return str(request.param)


@pytest.fixture
def workspace(request: pytest.FixtureRequest, backend: str) -> Workspace:
    """Return a workspace with an empty registry, on every backend."""
    made: Workspace = request.getfixturevalue(f"{backend}_workspace")
    return made


@pytest.fixture
def uncreated_workspace(request: pytest.FixtureRequest, backend: str) -> Workspace:
    """Return a workspace that is not created yet, on every backend."""
    to_make: Workspace = request.getfixturevalue(f"{backend}_uncreated_workspace")
    return to_make


@pytest.fixture
def registry(workspace: Workspace) -> Iterator[Registry]:
    """Yield the workspace's registry, open for writing."""
    with workspace.open() as opened:
        yield opened
