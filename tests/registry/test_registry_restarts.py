"""A registry whose server goes away and comes back; it is a real one."""

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
def begun(registry: Registry) -> Registry:
    """A registry with a run over sst2."""
    registry.begin_run(run_start(add(registry, "sst2")))
    return registry


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch, postgres: Postgres) -> list[float]:
    """How long the registry has paused, in seconds; in its third pause the server comes back."""
    made: list[float] = []

    def pause(seconds: float) -> None:
        made.append(seconds)
        if len(made) == 3:
            postgres.start()

    monkeypatch.setattr(server, "sleep", pause)
    return made


@contextmanager
def at_first(what: str, then: Callable[..., bool]) -> Iterator[None]:
    """Listen to events of this kind until `then` says that it has done something."""
    done: list[bool] = []

    def listen(*arguments: Any) -> None:
        if not any(done):
            done.append(then(*arguments))

    event.listen(Engine, what, listen)
    try:
        yield
        assert any(done)
    finally:
        event.remove(Engine, what, listen)


def commit(registry: Registry) -> None:
    registry.commit_stage("first", stage("sst2"), [evaluation("sst2")], files_of(1))


def assert_committed_once(workspace: Workspace) -> None:
    with workspace.read() as reader:
        assert [made.artifact for made in reader.run("first").stages] == [sha("stage 1")]
        assert reader.evaluations("first") == [evaluation("sst2")]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["shutdown", "crash"])
def test_a_restart_between_two_transactions_loses_nothing_and_is_not_noticed(
    begun: Registry,
    workspace: Workspace,
    postgres: Postgres,
    pauses: list[float],
    how: signal.Signals,
) -> None:
    postgres.stop(how)
    postgres.start()
    commit(begun)
    postgres.stop(how)
    postgres.start()
    assert begun.run("first").status == "done"
    assert_committed_once(workspace)
    assert pauses == []


def test_a_server_that_is_away_is_waited_for_and_one_line_says_so(
    begun: Registry,
    workspace: Workspace,
    postgres: Postgres,
    pauses: list[float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    postgres.stop()
    commit(begun)
    assert len(pauses) == 3
    assert_committed_once(workspace)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "is away" in line
    assert "waiting" in line
    assert PASSWORD not in line


def test_pauses_grow_and_are_a_minute_in_all() -> None:
    assert list(server.PAUSES_S) == sorted(server.PAUSES_S)
    assert 55 <= sum(server.PAUSES_S) <= 65


@pytest.mark.parametrize("broken_at", ["SELECT", "INSERT INTO stages", "INSERT INTO evaluations"])
def test_a_commit_that_breaks_off_before_its_end_is_done_again(
    begun: Registry,
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

    with at_first("before_cursor_execute", stop):
        commit(begun)
    assert len(pauses) == 3
    assert len(caplog.records) == 1
    assert_committed_once(workspace)


@pytest.mark.parametrize("landed", [True, False])
def test_a_commit_that_is_not_answered_is_done_again_only_where_it_did_not_take_place(
    begun: Registry, workspace: Workspace, pauses: list[float], landed: bool
) -> None:
    def cut(connection: Any) -> bool:
        if landed:
            connection.connection.dbapi_connection.commit()
        connection.connection.dbapi_connection.close()
        return True

    with at_first("commit", cut):
        commit(begun)
    assert_committed_once(workspace)


def test_a_commit_that_is_not_answered_returns_what_it_made(
    begun: Registry, workspace: Workspace, pauses: list[float]
) -> None:
    def cut(connection: Any) -> bool:
        connection.connection.dbapi_connection.commit()
        connection.connection.dbapi_connection.close()
        return True

    commit(begun)
    with at_first("commit", cut):
        assert begun.retire("first", "sst2").retired_after == 1


def test_a_server_that_stays_away_ends_in_an_error_and_the_same_call_goes_on_later(
    begun: Registry, workspace: Workspace, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "sleep", lambda _: None)
    postgres.stop()
    try:
        for ask in (commit, lambda registry: registry.run("first")):
            with pytest.raises(
                WorkspaceUnusable, match=r"not back after a minute: .*the same command goes on"
            ):
                ask(begun)
    finally:
        postgres.start()
    commit(begun)
    assert_committed_once(workspace)


def test_a_server_that_never_answered_is_not_waited_for(
    workspace: Workspace, postgres: Postgres, pauses: list[float]
) -> None:
    postgres.stop()
    try:
        with pytest.raises(WorkspaceUnusable, match=r"cannot be opened: connection failed"):
            workspace.open()
    finally:
        postgres.start()
    assert pauses == []
