"""A registry whose PostgreSQL server, a real one, stops and starts again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry import Registry, Workspace, server
from tests.postgres import PASSWORD, Postgres

from .registry_records import add, evaluation, files_of, run_start, sha, stage


@pytest.fixture
def backend() -> str:
    return "postgresql"


@pytest.fixture
def started_registry(registry: Registry) -> Registry:
    """Return a registry with a run over sst2."""
    registry.begin_run(run_start(add(registry, "sst2")))
    return registry


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch, postgres: Postgres) -> list[float]:
    """Record the registry's pauses in seconds; start the server in the third one."""
    made: list[float] = []

    def pause(seconds: float) -> None:
        made.append(seconds)
        if len(made) == 3:
            postgres.start()

    monkeypatch.setattr(server, "sleep", pause)
    return made


@contextmanager
def until_true_on(event_name: str, action: Callable[..., bool]) -> Iterator[None]:
    """Call `action` at events of this kind until it returns true."""
    done: list[bool] = []

    def listen(*arguments: Any) -> None:
        if not any(done):
            done.append(action(*arguments))

    event.listen(Engine, event_name, listen)
    try:
        yield
        assert any(done)
    finally:
        event.remove(Engine, event_name, listen)


def commit(registry: Registry) -> None:
    registry.commit_stage("first", stage("sst2"), [evaluation("sst2")], files_of(1))


def assert_committed_once(workspace: Workspace) -> None:
    with workspace.read() as reader:
        assert [made.artifact for made in reader.run("first").stages] == [sha("stage 1")]
        assert reader.evaluations("first") == [evaluation("sst2")]


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGQUIT], ids=["shutdown", "crash"])
def test_restart_between_transactions_loses_nothing_and_causes_no_wait(
    started_registry: Registry,
    workspace: Workspace,
    postgres: Postgres,
    pauses: list[float],
    stop_signal: signal.Signals,
) -> None:
    postgres.stop(stop_signal)
    postgres.start()
    commit(started_registry)
    postgres.stop(stop_signal)
    postgres.start()
    assert started_registry.run("first").status == "done"
    assert_committed_once(workspace)
    assert pauses == []


def test_commit_waits_for_an_unavailable_server_and_logs_one_line(
    started_registry: Registry,
    workspace: Workspace,
    postgres: Postgres,
    pauses: list[float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    postgres.stop()
    commit(started_registry)
    assert len(pauses) == 3
    assert_committed_once(workspace)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "is unavailable" in line
    assert "retrying" in line
    assert PASSWORD not in line


def test_retry_delays_increase_and_add_up_to_a_minute() -> None:
    assert list(server.RETRY_DELAYS_S) == sorted(server.RETRY_DELAYS_S)
    assert 55 <= sum(server.RETRY_DELAYS_S) <= 65


@pytest.mark.parametrize("broken_at", ["SELECT", "INSERT INTO stages", "INSERT INTO evaluations"])
def test_commit_interrupted_by_a_server_stop_is_retried(
    started_registry: Registry,
    workspace: Workspace,
    postgres: Postgres,
    pauses: list[float],
    caplog: pytest.LogCaptureFixture,
    broken_at: str,
) -> None:
    def stop(_connection: Any, _cursor: Any, statement: str, *_: Any) -> bool:
        if not statement.startswith(broken_at):
            return False
        postgres.stop()
        return True

    with until_true_on("before_cursor_execute", stop):
        commit(started_registry)
    assert len(pauses) == 3
    assert len(caplog.records) == 1
    assert_committed_once(workspace)


@pytest.mark.parametrize("committed", [True, False])
def test_commit_without_an_answer_is_retried_only_if_it_did_not_happen(
    started_registry: Registry, workspace: Workspace, pauses: list[float], committed: bool
) -> None:
    def close_connection(connection: Any) -> bool:
        if committed:
            connection.connection.dbapi_connection.commit()
        connection.connection.dbapi_connection.close()
        return True

    with until_true_on("commit", close_connection):
        commit(started_registry)
    assert_committed_once(workspace)


def test_commit_without_an_answer_returns_its_result(
    started_registry: Registry, workspace: Workspace, pauses: list[float]
) -> None:
    def close_connection(connection: Any) -> bool:
        connection.connection.dbapi_connection.commit()
        connection.connection.dbapi_connection.close()
        return True

    commit(started_registry)
    with until_true_on("commit", close_connection):
        assert started_registry.retire("first", "sst2").retired_after == 1


def test_unavailable_server_is_an_error_and_the_same_call_succeeds_later(
    started_registry: Registry, workspace: Workspace, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "sleep", lambda _: None)
    postgres.stop()
    try:
        for call in (commit, lambda registry: registry.run("first")):
            with pytest.raises(
                WorkspaceUnusable, match=r"did not come back within a minute: .*repeat the command to resume"
            ):
                call(started_registry)
    finally:
        postgres.start()
    commit(started_registry)
    assert_committed_once(workspace)


def test_opening_an_unavailable_server_fails_without_a_wait(
    workspace: Workspace, postgres: Postgres, pauses: list[float]
) -> None:
    postgres.stop()
    try:
        with pytest.raises(WorkspaceUnusable, match=r"cannot be opened: connection failed"):
            workspace.open()
    finally:
        postgres.start()
    assert pauses == []
