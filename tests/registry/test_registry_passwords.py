"""The password in a registry's URL is shown to nobody."""

from __future__ import annotations

import logging
import sqlite3
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy.dialects import registry as dialects
from sqlalchemy.engine.default import DefaultDialect

from lori_cl.errors import LoriError, WorkspaceUnusable
from lori_cl.registry import Registry, Workspace, server
from tests.postgres import PASSWORD, Postgres

from .registry_records import add, run_start


class Deaf(DefaultDialect):
    """A database that never answers."""

    name = driver = "deaf"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        return sqlite3

    def connect(self, *_args: Any, **_options: Any) -> Any:
        raise sqlite3.OperationalError("no answer")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://user:s3cret@127.0.0.1:1/registry",
        "postgresql+psycopg://127.0.0.1:1/registry?user=user&password=s3cret",
        "postgresql://user:s3cret@host:port/registry",
        "postgresql+psycopg://user:half@s3cret@127.0.0.1:1/registry",
        "postgresql+psycopg://user:half@127.0.0.1:s3cret@127.0.0.1:1/registry",
        "postgresql+psycopg://user:half@127.0.0.1/s3cret@127.0.0.1:1/registry",
        "postgresql+psycopg://user:half@s3cret?@127.0.0.1:1/registry",
        "nosuchdatabase://user:s3cret@host/registry",
        "sqlite://user:s3cret@host/registry.db",
        "user:s3cret@host",
    ],
)
@pytest.mark.parametrize(
    "opener",
    [Registry.create, lambda url: Registry.open(url, read_only=True)],
    ids=["creating", "reading"],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(
    url: str, opener: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WorkspaceUnusable) as refused:
        opener(url)
    assert "s3cret" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "url",
    ["deaf://ada:s3cret@db.example/registry", "deaf://db.example/registry?user=ada&password=s3cret"],
)
def test_a_database_that_does_not_answer_is_named_without_the_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(dialects.impls, "deaf", lambda: Deaf)
    with pytest.raises(
        WorkspaceUnusable, match=r"db\.example/registry.* cannot be opened: no answer"
    ) as refused:
        Registry.open(url, read_only=False)
    assert "s3cret" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("in_query", [False, True])
def test_nothing_that_any_library_logs_or_raises_holds_the_password(
    postgres: Postgres,
    empty_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    in_query: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(server, "sleep", lambda _: None)
    raised: list[LoriError] = []
    with postgres.database(empty_database) as url:
        if in_query:
            at, _, address = url.rpartition("@")
            name, _, secret = at.removeprefix("postgresql+psycopg://").partition(":")
            url = f"postgresql+psycopg://{address}?user={name}&password={secret}"
        workspace = Workspace(tmp_path, url)
        with workspace.open() as registry:
            tasks = add(registry, "sst2")
            registry.begin_run(run_start(tasks))
            with pytest.raises(LoriError) as refused:
                registry.begin_run(run_start(tasks))
            raised.append(refused.value)
            postgres.stop()
            with pytest.raises(LoriError) as refused:
                registry.runs()
            raised.append(refused.value)
            with pytest.raises(LoriError) as refused:
                workspace.read()
            raised.append(refused.value)
            postgres.start()
            shown = [caplog.text, repr(workspace), repr(registry._database.engine)]
    shown.append((tmp_path / "registries.txt").read_text())
    shown += ["".join(traceback.format_exception(error)) for error in raised]
    assert "registry_" in caplog.text
    for text in shown:
        assert PASSWORD not in text
        assert quote(PASSWORD, safe="") not in text
