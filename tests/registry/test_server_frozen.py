"""A PostgreSQL server that accepts connections and does not answer, as when its machine is frozen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, make_url, text

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry import Registry, Workspace, backup, server, server_settings, server_watch
from lori_cl.registry.backup import back_up
from lori_cl.registry.server_settings import CONNECTION, connection_options, user_setting_ms
from tests.postgres import PASSWORD, Postgres

from .registry_records import add, evaluation, files_of, run_start, sha, stage


@pytest.fixture
def backend() -> str:
    return "postgresql"


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the timeouts from a minute to a second or two."""
    monkeypatch.setattr(server, "STATEMENT_TIMEOUT_S", 0.5)
    monkeypatch.setattr(server, "ANSWER_MARGIN_S", 0.2)
    monkeypatch.setattr(server, "TABLES_TIMEOUT_S", 0.5)
    monkeypatch.setattr(server, "RETRY_LIMIT_S", 2.0)
    monkeypatch.setattr(server, "RETRY_DELAYS_S", (0.1, 0.2, 0.3))
    monkeypatch.setattr(server_watch, "LOG_INTERVAL_S", 0.3)
    monkeypatch.setitem(server_settings.CONNECTION, "connect_timeout", 2)


@pytest.fixture
def started_registry(registry: Registry) -> Registry:
    registry.begin_run(run_start(add(registry, "sst2")))
    return registry


@contextmanager
def frozen(postgres: Postgres, seconds: float | None = None) -> Iterator[None]:
    """Stop the server's processes for some seconds, or until the context ends."""
    postgres.freeze()
    timer = threading.Timer(seconds or 0, postgres.thaw)
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        postgres.thaw()


@contextmanager
def frozen_at(event_name: str, postgres: Postgres, seconds: float | None) -> Iterator[None]:
    """Stop the server at the first event of this kind."""
    stack: list[Any] = []

    def listen(*_: Any) -> None:
        if not stack:
            stack.append(frozen(postgres, seconds))
            stack[0].__enter__()

    event.listen(Engine, event_name, listen)
    try:
        yield
    finally:
        event.remove(Engine, event_name, listen)
        stack[0].__exit__(None, None, None)


def commit(registry: Registry) -> None:
    registry.commit_stage("first", stage("sst2"), [evaluation("sst2")], files_of(1))


def assert_committed_once(workspace: Workspace) -> None:
    with workspace.read() as reader:
        assert [made.artifact for made in reader.run("first").stages] == [sha("stage 1")]
        assert reader.evaluations("first") == [evaluation("sst2")]


EVENTS = ("before_cursor_execute", "commit")
CALLS: dict[str, Callable[[Registry], object]] = {
    "read": lambda registry: registry.run("first"),
    "write": commit,
}


@pytest.mark.parametrize("event_name", EVENTS)
def test_commit_waits_for_a_frozen_server_and_happens_once(
    started_registry: Registry, workspace: Workspace, postgres: Postgres, event_name: str
) -> None:
    with frozen_at(event_name, postgres, 1.2):
        commit(started_registry)
    assert_committed_once(workspace)


@pytest.mark.parametrize("call", CALLS)
def test_frozen_server_is_a_one_line_error_and_the_same_call_succeeds_later(
    started_registry: Registry,
    workspace: Workspace,
    postgres: Postgres,
    call: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    started_at = time.monotonic()
    with (
        frozen(postgres),
        pytest.raises(
            WorkspaceUnusable, match=r"did not come back within a minute: .*repeat the command to resume"
        ) as raised,
    ):
        CALLS[call](started_registry)
    assert time.monotonic() - started_at < 15
    assert raised.value.exit_code == 2
    lines = [record.getMessage() for record in caplog.records]
    assert sum("has not answered for" in line for line in lines) >= 3
    assert any("no answer for 1 s" in line for line in lines)
    assert not any(PASSWORD in line for line in lines)
    commit(started_registry)
    assert_committed_once(workspace)


def test_server_frozen_during_a_commit_is_a_one_line_error(
    started_registry: Registry, workspace: Workspace, postgres: Postgres
) -> None:
    with (
        frozen_at("commit", postgres, None),
        pytest.raises(WorkspaceUnusable, match="did not come back within"),
    ):
        commit(started_registry)


def test_opening_a_frozen_server_times_out(workspace: Workspace, postgres: Postgres) -> None:
    started_at = time.monotonic()
    with frozen(postgres), pytest.raises(WorkspaceUnusable, match=r"cannot be opened: .*timeout"):
        workspace.open()
    assert time.monotonic() - started_at < 10


def test_changing_tables_on_a_frozen_server_is_a_one_line_error(
    workspace: Workspace, postgres: Postgres
) -> None:
    database = server.Server(make_url(str(workspace.url)), "shown", read_only=False)
    try:
        with (
            pytest.raises(WorkspaceUnusable, match="shown cannot be written"),
            database.changing_tables() as connection,
            frozen(postgres),
        ):
            connection.exec_driver_sql("SELECT 1")
    finally:
        database.release()


def test_backup_from_a_frozen_server_is_a_one_line_error_and_leaves_no_file(
    workspace: Workspace,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(backup, "LOG_INTERVAL_S", 0.2)
    monkeypatch.setattr(backup, "DUMP_STALL_LIMIT_S", 0.8)
    monkeypatch.setitem(server_settings.CONNECTION, "connect_timeout", 60)
    with frozen(postgres), pytest.raises(WorkspaceUnusable, match="pg_dump wrote nothing for 1 s"):
        back_up(make_url(str(workspace.url)), "0001", workspace.root)
    assert list(workspace.root.glob("*.dump")) == []
    assert sum("backing up" in record.getMessage() for record in caplog.records) >= 3


def test_slow_query_within_the_limit_is_logged_and_returns(
    started_registry: Registry, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STATEMENT_TIMEOUT_S", 10.0)
    with reopened(started_registry) as database:
        found = database.read(lambda session: len(session.execute(text("SELECT pg_sleep(0.8)")).all()))
    assert found == 1
    assert any("has not answered for" in record.getMessage() for record in caplog.records)


@contextmanager
def reopened(registry: Registry) -> Iterator[server.Server]:
    """Open the registry's database again with the current settings."""
    engine = registry._database.engine
    database = server.Server(engine.url, "shown", read_only=True)
    try:
        yield database
    finally:
        database.release()


def test_statement_cancelled_by_the_server_is_a_one_line_error(started_registry: Registry) -> None:
    with reopened(started_registry) as database, pytest.raises(WorkspaceUnusable, match="statement timeout"):
        database.read(lambda session: session.connection().exec_driver_sql("SELECT pg_sleep(5)").all())


def test_timeouts_in_the_url_override_the_defaults(started_registry: Registry) -> None:
    options = "-c statement_timeout=7s -c lock_timeout=1234"
    url = started_registry._database.engine.url.update_query_dict(
        {"options": options, "tcp_user_timeout": "9000"}
    )
    database = server.Server(url, "shown", read_only=False)
    try:
        timeouts = database.write(
            lambda session: (
                session.connection()
                .exec_driver_sql(
                    "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
                )
                .one()
            )
        )
        assert tuple(timeouts) == ("7s", "1234ms")
        assert database._watch.limit_s == 7 + server.ANSWER_MARGIN_S
    finally:
        database.release()
    assert "tcp_user_timeout" not in connection_options(url)
    assert set(connection_options(url)) == set(CONNECTION) - {"tcp_user_timeout"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", None),
        ("-c statement_timeout=500", 500),
        ("-c statement_timeout=2min", 120_000),
        ("-cstatement_timeout=3s", 3000),
        ("--statement-timeout=3s", 3000),
        ("-c statement_timeout=1s -c statement_timeout=0", 0),
    ],
)
def test_a_timeout_is_read_from_the_url(options: str, expected: float | None) -> None:
    url = make_url("postgresql+psycopg://u@h/d").update_query_dict({"options": options})
    assert user_setting_ms(url, "statement_timeout") == expected


def test_closing_a_registry_ends_its_watch_thread(workspace: Workspace) -> None:
    def watches() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "server watch" and each.is_alive()]

    before = len(watches())
    with workspace.read() as registry:
        registry.tasks()
        assert len(watches()) == before + 1
    for each in watches()[before:]:
        each.join(timeout=2)
    assert len(watches()) == before
