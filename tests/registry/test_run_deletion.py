"""Deleting a run removes its rows, and nothing that another run or a task needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lori_cl.errors import RunConflict, UnknownRun
from lori_cl.registry import (
    Evaluation,
    Registry,
    ScoredStage,
    Stage,
    StatisticsRecord,
    Workspace,
    delete_run,
    find_garbage,
)
from lori_cl.registry.tables import Base

from .registry_records import (
    add,
    curriculum,
    eval_set,
    evaluation,
    rows_of,
    run_start,
    sha,
    snapshot,
    stage,
    task_spec,
)

ARTIFACT = ("safetensors", 64)


def start(registry: Registry, name: str, **changes: object) -> None:
    """Start a run over sst2."""
    tasks = add(registry, "sst2")
    with_views = {**curriculum(tasks), "eval": {"views": ["current"]}}
    registry.begin_run(run_start(tasks, name, curriculum=with_views, **changes))


def own_stage(name: str) -> Stage:
    return stage("sst2", artifact=sha(f"stage of {name}"), environment={"threads": name})


def scored(workspace: Workspace, name: str, *scores: Evaluation) -> ScoredStage:
    """Return the first stage of a run with these scores."""
    files = {sha(f"stage of {name}"): ARTIFACT, **{score.answers: ("jsonl", 32) for score in scores}}
    statistics = [StatisticsRecord("sst2", sha(f"statistics of {name}"), 4)]
    return ScoredStage(
        {}, (), own_stage(name), scores, files | {statistics[0].artifact: ARTIFACT}, statistics
    )


def commit(workspace: Workspace, registry: Registry, name: str, *scores: Evaluation) -> None:
    """Start a run over sst2, and commit its first stage with these scores and its statistics."""
    start(registry, name, environment={"threads": name})
    workspace.commit_stage(registry, name, scored(workspace, name, *scores))


def own_score(name: str, **changes: object) -> Evaluation:
    return evaluation(
        "sst2", **{"answers": sha(f"answers of {name}"), "input_digest": sha(f"input of {name}"), **changes}
    )


def cached_from(name: str) -> Evaluation:
    return replace(own_score(name), source="cached", elapsed_s=0.0)


def table_rows(workspace: Workspace) -> dict[str, int]:
    """Return the number of rows of each table."""
    return {name: len(rows_of(workspace, f"SELECT * FROM {name}")) for name in Base.metadata.tables}


def test_deleting_the_only_run_leaves_the_tables_as_they_were_before_it(workspace: Workspace) -> None:
    with workspace.open() as registry:
        add(registry, "sst2")
    before = table_rows(workspace)
    with workspace.open() as registry:
        commit(workspace, registry, "first", own_score("first"))
    assert table_rows(workspace) != before
    delete_run(workspace, "first")
    assert table_rows(workspace) == before
    with workspace.read() as registry, pytest.raises(UnknownRun):
        registry.run("first")


def test_deleting_a_run_keeps_every_row_of_another_run(workspace: Workspace) -> None:
    with workspace.open() as registry:
        commit(workspace, registry, "kept", own_score("kept"))
    before, rows = snapshot_of_kept(workspace), table_rows(workspace)
    with workspace.open() as registry:
        commit(workspace, registry, "first", own_score("first"), replace(cached_from("kept"), stage=0))
    delete_run(workspace, "first")
    assert snapshot_of_kept(workspace) == before
    assert table_rows(workspace) == rows


def snapshot_of_kept(workspace: Workspace) -> object:
    with workspace.read() as registry:
        return (
            registry.run("kept"),
            registry.evaluations("kept"),
            registry.statistics("kept"),
            registry.artifact_files(),
            registry.row_digests("kept"),
            registry.damage(),
        )


def test_a_run_is_kept_if_another_run_has_scores_that_only_it_measured(workspace: Workspace) -> None:
    with workspace.open() as registry:
        commit(workspace, registry, "first", own_score("first"))
        commit(workspace, registry, "second", own_score("second"), replace(cached_from("first"), stage=0))
    before = table_rows(workspace)
    for dry_run in (True, False):
        with pytest.raises(RunConflict, match=r"1 score of run 'second' cached.*delete first: second"):
            delete_run(workspace, "first", dry_run=dry_run)
    assert table_rows(workspace) == before
    delete_run(workspace, "second")
    delete_run(workspace, "first")
    with workspace.read() as registry:
        assert registry.run_summaries() == []


def test_a_run_can_be_deleted_if_a_third_run_measured_the_same_scores(workspace: Workspace) -> None:
    shared = own_score("first")
    with workspace.open() as registry:
        commit(workspace, registry, "first", shared)
        commit(workspace, registry, "second", own_score("second"), replace(cached_from("first"), stage=0))
        commit(workspace, registry, "third", shared)
    deleted = delete_run(workspace, "first")
    with workspace.read() as registry:
        assert f"{shared.answers}.jsonl" in registry.artifact_files()
        assert registry.find_measured(shared.input_digest) is not None
    assert deleted.unused_artifacts == 3  # its stage, its statistics and its stage record


def test_a_run_is_kept_if_a_held_back_stage_has_scores_that_only_it_measured(workspace: Workspace) -> None:
    with workspace.open() as registry:
        commit(workspace, registry, "first", own_score("first"))
        start(registry, "second")
    scored(workspace, "second", cached_from("first")).write(workspace.held_back_file("second"))
    with pytest.raises(RunConflict, match="1 score of run 'second'"):
        delete_run(workspace, "first")
    workspace.held_back_file("second").unlink()
    delete_run(workspace, "first")


def test_splits_of_a_task_with_data_in_memory_stay_registered(workspace: Workspace) -> None:
    answers = sha("answers of first")
    with workspace.open() as registry:
        commit(workspace, registry, "first", own_score("first"))
        spec = task_spec("memory", train={"split": answers}, eval={"split": sha("eval rows")})
        registry.add_task(spec, eval_set("memory"), "artifacts")
    delete_run(workspace, "first")
    with workspace.read() as registry:
        assert f"{answers}.jsonl" in registry.artifact_files()


def test_dry_run_writes_nothing_and_describes_what_is_deleted(workspace: Workspace) -> None:
    with workspace.open() as registry:
        commit(workspace, registry, "first", own_score("first"))
    checkpoint = workspace.checkpoints_of("first") / "train-0" / "optimizer.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"123")
    before = snapshot(workspace)
    planned = delete_run(workspace, "first", dry_run=True)
    assert snapshot(workspace) == before
    assert (planned.stages, planned.scores, planned.checkpoint_bytes, planned.unused_artifacts) == (
        1,
        1,
        3,
        4,
    )
    done = delete_run(workspace, "first")
    assert done == replace(planned, deleted=True)
    assert not workspace.checkpoints_of("first").exists()


def test_a_run_in_progress_prevents_the_deletion_of_every_run(workspace: Workspace) -> None:
    with workspace.open() as registry:
        start(registry, "first")
    for locked, message in (
        ("second", "while a run is in progress.*: second;"),
        ("first", "'first' is locked by"),
    ):
        with workspace.lock(locked), pytest.raises(RunConflict, match=message):
            delete_run(workspace, "first")
    with workspace.lock("first"), pytest.raises(RunConflict, match=r"in progress.*: first;"):
        delete_run(workspace, "first", dry_run=True)
    delete_run(workspace, "first")


def test_deleting_an_unknown_run_names_the_nearest_one(workspace: Workspace) -> None:
    with workspace.open() as registry:
        start(registry, "first")
    for dry_run in (True, False):
        with pytest.raises(UnknownRun, match="Did you mean 'first'"):
            delete_run(workspace, "frist", dry_run=dry_run)


def test_held_back_stage_of_a_deleted_run_is_deleted(workspace: Workspace) -> None:
    with workspace.open() as registry:
        start(registry, "first")
    scored(workspace, "first").write(workspace.held_back_file("first"))
    assert delete_run(workspace, "first").held_back
    assert not workspace.held_back_file("first").exists()


def test_files_of_a_run_are_kept_if_another_registry_uses_the_workspace(
    workspace: Workspace,
) -> None:
    with workspace.open() as registry:
        start(registry, "first")
    folder = workspace.checkpoints_of("first")
    folder.mkdir(parents=True)
    (workspace.root / "registries.txt").write_text("postgresql+psycopg://ada@db.example/lori\n")
    done = delete_run(workspace, "first")
    assert "postgresql+psycopg://ada@db.example/lori" in done.files_kept_for
    assert folder.exists()


def test_files_of_a_deleted_run_are_garbage(workspace: Workspace) -> None:
    with workspace.open() as registry:
        start(registry, "first")
        sha256 = workspace.artifacts.put(b"tensors", "safetensors")
        files = {sha256: ("safetensors", 7)}
        made = replace(scored(workspace, "first"), statistics=[])
        made = replace(made, files=files, stage=replace(made.stage, artifact=sha256))
        workspace.commit_stage(registry, "first", made)
        assert find_garbage(workspace, registry) == []
        made.write(workspace.held_back_file("gone"))
    delete_run(workspace, "first")
    with workspace.read() as registry:
        reasons = {file.path.name: file.reason for file in find_garbage(workspace, registry)}
    assert reasons.pop("gone.json") == "no run has this name"
    assert set(reasons.values()) == {"not referenced by the registry"}
    assert f"{sha256}.safetensors" in reasons
    assert len(reasons) == 2  # the stage and its record
