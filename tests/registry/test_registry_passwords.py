"""The password in a registry's URL appears in no message, log line or file."""

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


class UnreachableDialect(DefaultDialect):
    """A database dialect whose connections always fail."""

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
def test_error_about_an_unusable_url_does_not_contain_its_password(
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
def test_error_about_an_unreachable_database_does_not_contain_the_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(dialects.impls, "deaf", lambda: UnreachableDialect)
    with pytest.raises(
        WorkspaceUnusable, match=r"db\.example/registry.* cannot be opened: no answer"
    ) as refused:
        Registry.open(url, read_only=False)
    assert "s3cret" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("in_query", [False, True])
def test_no_log_line_or_exception_of_any_library_contains_the_password(
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
            outputs = [caplog.text, repr(workspace), repr(registry._database.engine)]
    outputs.append((tmp_path / "registries.txt").read_text())
    outputs += ["".join(traceback.format_exception(error)) for error in raised]
    assert "registry_" in caplog.text
    for text in outputs:
        assert PASSWORD not in text
        assert quote(PASSWORD, safe="") not in text
