from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lori_cl.registry import Registry, Workspace
from tests.postgres import Postgres


@pytest.fixture(scope="session")
def empty_database(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a database with an empty registry."""
    with postgres.database() as url:
        Workspace(tmp_path_factory.mktemp("empty"), url).create()
        yield url.rpartition("/")[2]


@pytest.fixture
def sqlite_workspace(empty_workspace: Path, tmp_path: Path) -> Workspace:
    """A copy of the empty workspace, its registry in registry.db."""
    return Workspace(Path(shutil.copytree(empty_workspace, tmp_path / "workspace")))


@pytest.fixture
def postgresql_workspace(postgres: Postgres, empty_database: str, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace with an empty registry in PostgreSQL."""
    (tmp_path / "workspace").mkdir()
    with postgres.database(empty_database) as url:
        yield Workspace(tmp_path / "workspace", url)


@pytest.fixture
def sqlite_unmade(tmp_path: Path) -> Workspace:
    """A workspace still to be made, its registry in registry.db."""
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def postgresql_unmade(postgres: Postgres, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace still to be made, its registry in PostgreSQL."""
    with postgres.database() as url:
        yield Workspace(tmp_path / "workspace", url)


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """Every database that a registry may be kept in."""
    return str(request.param)


@pytest.fixture
def workspace(request: pytest.FixtureRequest, backend: str) -> Workspace:
    """A workspace with an empty registry, over every backend."""
    made: Workspace = request.getfixturevalue(f"{backend}_workspace")
    return made


@pytest.fixture
def unmade(request: pytest.FixtureRequest, backend: str) -> Workspace:
    """A workspace still to be made, over every backend."""
    to_make: Workspace = request.getfixturevalue(f"{backend}_unmade")
    return to_make


@pytest.fixture
def registry(workspace: Workspace) -> Iterator[Registry]:
    """The workspace's registry, open for writing."""
    with workspace.open() as opened:
        yield opened
