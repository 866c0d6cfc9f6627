"""Scores taken again from a run's files, and compared with the registry's example by example."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lori_cl.errors import Untruth
from lori_cl.registry import ArtifactStore, Evaluation, Registry, Run, Task, Workspace
from lori_cl.serving.verify import Checked
from lori_cl.spec import View
from lori_cl.tasks.scorers.pass_at_k import repeatable_parts
from lori_cl.training import Observer, load_run
from lori_cl.training.environment import decisive, differing, environment
from lori_cl.training.examiner import Examiner
from lori_cl.training.gathering import recall
from lori_cl.training.preparation import check_code_execution


@dataclass(frozen=True)
class RemeasureOptions:
    """What is scored again."""

    tasks: tuple[str, ...] = ()
    """Labels or names of learned tasks; none means all."""
    allow_code_execution: bool = False
    """Run the programs that the model writes, contained, where a task is scored by that."""


def remeasure(
    workspace: Workspace, registry: Registry, name: str, options: RemeasureOptions, observer: Observer
) -> Iterator[Checked]:
    """Score tasks as_trained after their own stage, and after the last one under every view that they have a
    score in; nothing is written.

    Raises, at once: UnknownRun; UnknownTask; InputError, as `check_code_execution` says. From the iterator:
    InputError, as `load_run` says; Untruth, at the first score of which an outcome differs.
    """
    run = registry.run(name)
    wanted = [run.tasks[run.position(task)] for task in options.tasks] or run.tasks[: len(run.stages)]
    check_code_execution(wanted, options.allow_code_execution)
    return _measured_again(workspace, registry, run, wanted, observer)


def _measured_again(
    workspace: Workspace, registry: Registry, run: Run, wanted: Sequence[Task], observer: Observer
) -> Iterator[Checked]:
    loaded = load_run(workspace, registry, run.name)
    recorded = {(e.stage, e.task, e.view): e for e in registry.evaluations(run.name)}
    history, last, here = loaded.history, len(loaded.history), environment(workspace.root)
    if any((last, task.label, View.ROUTED) in recorded for task in wanted):
        history = recall(loaded, registry, observer).history
    with tempfile.TemporaryDirectory() as scratch:
        examiner = Examiner(
            loaded.base,
            loaded.model,
            loaded.method,
            ArtifactStore(Path(scratch)),
            observer,
            find_measured=lambda _: None,  # nothing is taken over: every state is measured, once
            measure_all=False,
        )
        for task in wanted:
            rows = {loaded.position(task.label) + 1: [View.AS_TRAINED], last: list(View)}
            for done, views in rows.items():
                there = [view for view in views if (done, task.label, view) in recorded]
                for score in examiner.row(there, history[:done], loaded.questions[:done], only=[task.label]):
                    yield _compared(run, here, recorded[done, task.label, score.view], score)


def _compared(run: Run, here: Mapping[str, Any], recorded: Evaluation, score: Evaluation) -> Checked:
    """Raises: Untruth, with how many outcomes differ and by how much."""
    stage = run.stages[recorded.stage - 1]
    where = f"stage {stage.position} {stage.task}, {score.task} under {score.view}"
    elsewhere = _elsewhere(run.environment_of(stage), here)
    gaps = [abs(one - other) for one, other in zip(score.outcomes, recorded.outcomes, strict=True)]
    differ = sum(gap > 0 for gap in gaps)
    if differ or repeatable_parts(score.parts) != repeatable_parts(recorded.parts):
        raise Untruth(
            f"{where}: measured again with {stage.artifact}, {differ:,} of {len(gaps):,} outcomes differ, by "
            f"{max(gaps):g} at most: the score is {score.score:g} by the answers {score.answers}, and the "
            f"registry says {recorded.score:g} by {recorded.answers}{elsewhere}"
        )
    return Checked("measured again", f"{where}: all {len(gaps):,} outcomes are equal{elsewhere}")


def _elsewhere(then: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What of the environment can make the last bits differ; empty where nothing can."""
    changed = differing(decisive(then), here)
    told = ", ".join(f"{field} {here[field]} (then {then[field]})" for field in changed)
    return f"; last bits may differ, with {told}" if told else ""
