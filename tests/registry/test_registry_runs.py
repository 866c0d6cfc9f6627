from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lori_cl.errors import InputError, RunConflict, UnknownRun
from lori_cl.registry import Evaluation, Registry, Run, Stage, Workspace

from .registry_records import (
    MASK,
    PROJECTION,
    add,
    curriculum,
    eval_set,
    evaluation,
    files_of,
    rows_of,
    run_start,
    sha,
    stage,
    task_spec,
    without_times,
)


@pytest.fixture
def run(registry: Registry) -> Run:
    """Return a run over sst2 and agnews whose first stage is committed with one score."""
    registry.begin_run(run_start(add(registry, "sst2", "agnews")))
    registry.commit_stage("first", stage("sst2"), [evaluation("sst2")], files_of(1))
    return registry.run("first")


def artifacts_named(workspace: Workspace) -> set[str]:
    return {name for (name,) in rows_of(workspace, "SELECT digest FROM artifacts")}


def test_run_is_read_back_as_it_was_started(workspace: Workspace) -> None:
    with workspace.open() as registry:
        start = run_start(add(registry, "sst2", "agnews"))
        started_registry = registry.begin_run(start)
    with workspace.read() as registry:
        found = registry.run("first")
    assert without_times(found) == without_times(started_registry)
    assert without_times(found) == without_times(
        Run(
            name="first",
            curriculum=start.curriculum,
            method="lori",
            seed=7,
            base_path="bert",
            base_revision="abc",
            base_digest=start.base_digest,
            tasks=start.tasks,
            stages=(),
            projection=PROJECTION,
            environment=start.environment,
            created_at=found.created_at,
        )
    )


def test_projection_keeps_the_order_of_its_sites(workspace: Workspace) -> None:
    with workspace.open() as registry:
        registry.begin_run(run_start(add(registry, "sst2")))
    with workspace.read() as registry:
        found = registry.run("first").projection
    assert found == PROJECTION
    assert list(found.sites.items()) == [("layer.1.query", (16, 8)), ("layer.0.query", (8, 8))]
    assert found.cells() == 4 * (16 + 8)


def test_run_that_trains_projection_a_has_no_projection_record(registry: Registry) -> None:
    registry.begin_run(run_start(add(registry, "sst2"), projection=None))
    assert registry.run("first").projection is None


def test_stage_and_mask_are_read_back_as_they_were_committed(workspace: Workspace) -> None:
    committed = stage("sst2")
    with workspace.open() as registry:
        registry.begin_run(run_start(add(registry, "sst2")))
        registry.commit_stage("first", committed, [], files_of(1))
    with workspace.read() as registry:
        (found,) = registry.run("first").stages
    assert replace(found, committed_at=None) == committed
    assert found.mask == MASK
    assert list(found.mask.by_site) == ["layer.1.query", "layer.0.query"]


def test_stage_records_its_commit_time(run: Run) -> None:
    (found,) = run.stages
    assert found.committed_at is not None
    assert abs(datetime.now(UTC) - found.committed_at) < timedelta(minutes=1)


def test_stage_of_a_method_without_masks_has_no_mask(registry: Registry) -> None:
    registry.begin_run(run_start(add(registry, "sst2")))
    registry.commit_stage("first", stage("sst2", mask=None), [], files_of(1))
    assert registry.run("first").stages[0].mask is None


def test_scores_are_read_back_as_they_were_committed(workspace: Workspace) -> None:
    committed = [
        evaluation("sst2", view="as_trained", outcomes=(0.1, 1 / 3, 1.0), score=0.1 + 0.2),
        evaluation("sst2", view="current", stderr=None, source="cached", parts={"pass@5": 0.1 + 0.2}),
    ]
    with workspace.open() as registry:
        registry.begin_run(run_start(add(registry, "sst2")))
        registry.commit_stage("first", stage("sst2"), committed, files_of(1))
    with workspace.read() as registry:
        assert registry.evaluations("first") == committed


def test_scores_are_ordered_by_stage(registry: Registry, run: Run) -> None:
    registry.commit_stage("first", None, [evaluation("agnews", stage=0, view="base")], files_of())
    assert [score.stage for score in registry.evaluations("first")] == [0, 1]


def test_scores_may_be_committed_without_a_stage(registry: Registry) -> None:
    registry.begin_run(run_start(add(registry, "sst2")))
    base = evaluation("sst2", stage=0, view="base")
    registry.commit_stage("first", None, [base], files_of())
    assert (registry.evaluations("first"), registry.run("first").stages) == ([base], ())


def test_run_status_is_the_number_of_finished_stages(registry: Registry, run: Run) -> None:
    assert run.status == "1 of 2 stages"
    registry.commit_stage("first", stage("agnews", 2, sha("stage 1")), [], files_of(2))
    assert registry.run("first").status == "done"


def test_stages_are_ordered_and_name_their_parents(registry: Registry, run: Run) -> None:
    registry.commit_stage("first", stage("agnews", 2, sha("stage 1")), [], files_of(2))
    stages = registry.run("first").stages
    assert [(s.position, s.task, s.parent) for s in stages] == [
        (1, "sst2", None),
        (2, "agnews", sha("stage 1")),
    ]


def test_run_keeps_the_task_versions_it_started_with(registry: Registry) -> None:
    registry.begin_run(run_start(add(registry, "sst2")))
    registry.add_task(task_spec("sst2", seed=9), eval_set(), "tasks")
    assert [task.label for task in registry.run("first").tasks] == ["sst2"]


def test_labels_distinguish_two_versions_of_one_task(registry: Registry) -> None:
    (first,) = add(registry, "sst2")
    second, _ = registry.add_task(task_spec("sst2", seed=9), eval_set(), "tasks")
    registry.begin_run(run_start((first, second)))
    registry.commit_stage("first", stage("sst2"), [], files_of(1))
    registry.commit_stage("first", stage("sst2@2", 2), [evaluation("sst2@2", 2)], files_of(2))
    assert [s.task for s in registry.run("first").stages] == ["sst2", "sst2@2"]
    assert [score.task for score in registry.evaluations("first")] == ["sst2@2"]


def test_runs_are_listed_in_the_order_they_started(registry: Registry) -> None:
    tasks = add(registry, "sst2")
    for name in ("zeta", "alpha"):
        registry.begin_run(run_start(tasks, name))
    assert [run.name for run in registry.runs()] == ["zeta", "alpha"]


def test_runs_in_the_same_environment_share_one_record(workspace: Workspace) -> None:
    with workspace.open() as registry:
        tasks = add(registry, "sst2")
        for name, threads in (("first", 2), ("second", 2), ("third", 4)):
            registry.begin_run(run_start(tasks, name, environment={"threads": threads}))
    assert rows_of(workspace, "SELECT count(*) FROM environments") == [(2,)]


def test_stage_computed_in_another_environment_records_that_environment(workspace: Workspace) -> None:
    home, other = {"torch": "2.6", "threads": 2}, {"torch": "2.7", "threads": 2}
    with workspace.open() as registry:
        registry.begin_run(run_start(add(registry, "sst2", "agnews"), environment=home))
        registry.commit_stage("first", stage("sst2", environment=home), [], files_of(1))
        registry.commit_stage("first", stage("agnews", 2, environment=other), [], files_of(2))
    with workspace.read() as registry:
        run = registry.run("first")
    assert run.environment == home
    assert [run.environment_of(done) for done in run.stages] == [home, other]
    assert rows_of(workspace, "SELECT count(*) FROM environments") == [(2,)]


def test_run_names_are_unique(registry: Registry, run: Run) -> None:
    with pytest.raises(RunConflict, match=r"(?i)unique constraint.*runs.name"):
        registry.begin_run(run_start(run.tasks, "first", base_digest=sha("other weights")))
    assert registry.run("first") == run


def test_planned_tasks_follow_the_trained_tasks(registry: Registry, run: Run) -> None:
    more = add(registry, "qqp", "mnli")
    longer = registry.plan_tasks("first", curriculum((*run.tasks[:1], *more)), more)
    assert [task.name for task in longer.tasks] == ["sst2", "qqp", "mnli"]
    assert longer.curriculum["tasks"] == ["sst2", "qqp", "mnli"]
    assert longer.status == "1 of 3 stages"
    assert without_times(registry.run("first")) == without_times(longer)


def test_task_appears_at_most_once_in_a_run(registry: Registry, run: Run) -> None:
    with pytest.raises(RunConflict, match=r"(?i)unique constraint.*run_tasks"):
        registry.plan_tasks("first", curriculum(run.tasks), run.tasks[:1])
    assert registry.run("first") == run


Faulty = Callable[[], tuple[Stage, list[Evaluation], dict[str, tuple[str, int]]]]


@pytest.mark.parametrize(
    ("faulty", "words"),
    [
        (
            lambda: (stage("agnews", 2), [evaluation("agnews", 2), evaluation("agnews", 2)], files_of(2)),
            "unique constraint.*evaluations",
        ),
        (
            lambda: (stage("agnews", 2), [evaluation("agnews", 2), evaluation("sst2", 1)], files_of(2)),
            "unique constraint.*evaluations",
        ),
        (
            lambda: (stage("agnews", 1), [evaluation("agnews", 2)], files_of(2)),
            "unique constraint.*stages.run_id",
        ),
        (
            lambda: (stage("agnews", 2), [evaluation("agnews", 2, answers=sha("lost"))], files_of(2)),
            "foreign key constraint",
        ),
        (
            lambda: (stage("agnews", 2, parent=sha("lost")), [evaluation("agnews", 2)], files_of(2)),
            "foreign key constraint",
        ),
        (
            lambda: (stage("agnews", 2), [evaluation("agnews", 2, score=float("nan"))], files_of(2)),
            "not.null constraint",
        ),
    ],
    ids=[
        "duplicate score",
        "existing score",
        "existing stage",
        "unknown answers",
        "unknown parent",
        "NaN score",
    ],
)
def test_stage_commit_is_atomic(
    workspace: Workspace, registry: Registry, run: Run, faulty: Faulty, words: str
) -> None:
    scores, named = registry.evaluations("first"), artifacts_named(workspace)
    with pytest.raises(
        InputError, match=rf"(?i){words}.*; (committed data is|data committed before is) kept"
    ):
        registry.commit_stage("first", *faulty())
    with workspace.read() as reader:
        assert reader.run("first") == run
        assert reader.evaluations("first") == scores
    assert artifacts_named(workspace) == named


def test_corrected_commit_succeeds_after_a_failed_one(registry: Registry, run: Run) -> None:
    scores = [evaluation("agnews", 2)]
    with pytest.raises(RunConflict, match=r"(?i)unique"):
        registry.commit_stage("first", stage("agnews", 2), scores * 2, files_of(2))
    registry.commit_stage("first", stage("agnews", 2), scores, files_of(2))
    assert registry.run("first").status == "done"


def test_process_killed_before_the_commit_stores_nothing_of_the_stage(workspace: Workspace) -> None:
    with workspace.open() as registry:
        registry.begin_run(run_start(add(registry, "sst2")))
    script = (
        "import os, sys; from pathlib import Path; from sqlalchemy import Engine, event\n"
        "from lori_cl.registry import Workspace\n"
        "from lori_cl.registry.records import Evaluation, MaskRecord, Stage\n"
        f"registry = Workspace(Path(sys.argv[1]), {workspace.url!r}).open()\n"
        "event.listen(Engine, 'commit', lambda connection: os._exit(9))\n"
        f"registry.commit_stage('first', {stage('sst2')!r}, [], {files_of(1)!r})"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(workspace.root)], check=False)
    assert killed.returncode == 9
    with workspace.read() as registry:
        assert registry.run("first").stages == ()
    assert sha("stage 1") not in artifacts_named(workspace)


@pytest.mark.parametrize(
    "call",
    [
        lambda registry: registry.run("frist"),
        lambda registry: registry.evaluations("frist"),
        lambda registry: registry.plan_tasks("frist", {}, ()),
        lambda registry: registry.commit_stage("frist", None, [], {}),
    ],
    ids=["run", "evaluations", "plan_tasks", "commit_stage"],
)
def test_error_about_an_unknown_run_suggests_the_nearest_name(
    registry: Registry, run: Run, call: Callable[[Registry], object]
) -> None:
    with pytest.raises(
        UnknownRun, match=r"^no run is named 'frist'\. Did you mean 'first'\? See: lori-cl runs$"
    ):
        call(registry)


def test_find_run_returns_none_for_an_unknown_run(registry: Registry, run: Run) -> None:
    assert registry.find_run("second") is None
    assert registry.find_run("first") == run
