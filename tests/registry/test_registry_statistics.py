from __future__ import annotations

from dataclasses import replace

import pytest

from lori_cl.errors import RunConflict, WorkspaceUnusable
from lori_cl.registry import Registry, StatisticsRecord, Workspace

from .registry_records import add, evaluation, files_of, run_start, sha, stage

STATISTICS = StatisticsRecord("sst2", sha("moments"), 900)
FILES = {**files_of(1), STATISTICS.artifact: ("safetensors", 128)}


@pytest.fixture
def started_registry(registry: Registry) -> Registry:
    """Return a registry with a run over sst2 and agnews, before its first stage."""
    registry.begin_run(run_start(add(registry, "sst2", "agnews")))
    return registry


def test_statistics_are_committed_with_their_stage(started_registry: Registry, workspace: Workspace) -> None:
    started_registry.commit_stage("first", stage("sst2"), [evaluation("sst2")], FILES, [STATISTICS])
    with workspace.read() as registry:
        assert registry.statistics("first") == [STATISTICS]


def test_run_without_statistics_returns_an_empty_list(started_registry: Registry) -> None:
    started_registry.commit_stage("first", stage("sst2"), [evaluation("sst2")], files_of(1))
    assert started_registry.statistics("first") == []


def test_stage_is_not_committed_if_its_statistics_cannot_be_stored(started_registry: Registry) -> None:
    with pytest.raises(WorkspaceUnusable, match=r"(?i)foreign key constraint"):
        started_registry.commit_stage("first", stage("sst2"), [evaluation("sst2")], files_of(1), [STATISTICS])
    assert started_registry.run("first").stages == ()
    assert started_registry.evaluations("first") == []


def test_a_task_has_one_set_of_statistics_in_a_run(started_registry: Registry) -> None:
    started_registry.commit_stage("first", stage("sst2"), [], FILES, [STATISTICS])
    with pytest.raises(RunConflict, match="another process wrote the same record"):
        started_registry.commit_stage("first", None, [], {}, [replace(STATISTICS, n=3)])
    assert started_registry.statistics("first") == [STATISTICS]
