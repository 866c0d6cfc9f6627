from __future__ import annotations

from dataclasses import replace

import pytest

from lori_cl.errors import RunConflict, WorkspaceUnusable
from lori_cl.registry import Registry, StatisticsRecord, Workspace

from .registry_records import add, evaluation, files_of, run_start, sha, stage

GATHERED = StatisticsRecord("sst2", sha("moments"), 900)
FILES = {**files_of(1), GATHERED.artifact: ("safetensors", 128)}


@pytest.fixture
def begun(registry: Registry) -> Registry:
    """A registry with a run over sst2 and agnews, before its first stage."""
    registry.begin_run(run_start(add(registry, "sst2", "agnews")))
    return registry


def test_statistics_come_back_with_the_stage_they_were_committed_with(
    begun: Registry, workspace: Workspace
) -> None:
    begun.commit_stage("first", stage("sst2"), [evaluation("sst2")], FILES, [GATHERED])
    with workspace.read() as registry:
        assert registry.statistics("first") == [GATHERED]


def test_a_run_that_gathered_none_has_none(begun: Registry) -> None:
    begun.commit_stage("first", stage("sst2"), [evaluation("sst2")], files_of(1))
    assert begun.statistics("first") == []


def test_statistics_that_cannot_be_stored_take_their_stage_with_them(begun: Registry) -> None:
    with pytest.raises(WorkspaceUnusable, match=r"(?i)foreign key constraint"):
        begun.commit_stage("first", stage("sst2"), [evaluation("sst2")], files_of(1), [GATHERED])
    assert begun.run("first").stages == ()
    assert begun.evaluations("first") == []


def test_a_task_has_one_set_of_statistics_in_a_run(begun: Registry) -> None:
    begun.commit_stage("first", stage("sst2"), [], FILES, [GATHERED])
    with pytest.raises(RunConflict, match="another process wrote the same"):
        begun.commit_stage("first", None, [], {}, [replace(GATHERED, n=3)])
    assert begun.statistics("first") == [GATHERED]
