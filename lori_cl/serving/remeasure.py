"""Measure a run's scores again from its files, and compare every outcome with the registry."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from lori_cl.errors import InputError, VerificationError
from lori_cl.evaluation import LoadedRun, load_run
from lori_cl.evaluation.evaluator import Evaluator
from lori_cl.evaluation.routing_statistics import read_gathered
from lori_cl.methods import StageState
from lori_cl.registry import ArtifactStore, Evaluation, Registry, Run, Workspace, is_active_after
from lori_cl.runtime import Progress
from lori_cl.runtime.environment import differing, environment, result_relevant
from lori_cl.serving.verify import CheckResult
from lori_cl.spec import View
from lori_cl.task_data.eval_tasks import check_permissions
from lori_cl.tasks.scorers.pass_at_k import repeatable_parts


@dataclass(frozen=True)
class RemeasureOptions:
    """Which scores to measure again."""

    tasks: tuple[str, ...] = ()
    """Labels or names of trained tasks; empty means all."""
    allow_code_execution: bool = False
    """Run model-generated programs, contained, for tasks that are scored by running them."""
    trust_tasks: bool = False
    """Run the scorer functions of the tasks, without containment, and send answers to their judges."""
    stages: frozenset[int] | None = None
    """Rows of the score matrix; 0 is the base model. None means all."""


def remeasure(
    workspace: Workspace, registry: Registry, name: str, options: RemeasureOptions, progress: Progress
) -> Iterator[CheckResult]:
    """Score every cell of the score matrix again: row 0, every stage, every view. Nothing is written.

    Cells whose scores depend on the same inputs are measured once. Skipped cells are yielded with the
    reason.
    Raises immediately: UnknownRun; UnknownTask; InputError, from `check_permissions`, or for an unknown
    stage. Raises while iterating: InputError, from `load_run`; VerificationError, at the first score of which
    an outcome differs.
    """
    run = registry.run(name)
    learned = run.tasks[: len(run.stages)]
    wanted = [run.tasks[run.position(task)] for task in options.tasks] or learned
    _check_stages(run, options.stages)
    check_permissions([*wanted, *([] if options.tasks else run.also)], options)
    cells = [e for e in registry.evaluations(name) if e.stage <= len(run.stages)]
    if options.tasks:
        labels = {task.label for task in wanted}
        cells = [cell for cell in cells if cell.task in labels]
    return _measured_again(workspace, registry, run, cells, options.stages, progress)


def _check_stages(run: Run, stages: Collection[int] | None) -> None:
    absent = sorted(set(stages or ()) - set(range(len(run.stages) + 1)))
    if absent:
        raise InputError(f"run '{run.name}' has stages 0 to {len(run.stages)}, and no stage {absent[0]}")


def _measured_again(
    workspace: Workspace,
    registry: Registry,
    run: Run,
    cells: Sequence[Evaluation],
    stages: Collection[int] | None,
    progress: Progress,
) -> Iterator[CheckResult]:
    loaded = load_run(workspace, registry, run.name)
    loaded = replace(loaded, history=_with_statistics(loaded, registry))
    here, compared, skipped = environment(workspace.root), 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        evaluator = _CountingEvaluator.of(loaded, cells, ArtifactStore(Path(scratch)), progress)
        for (stage, view), row in groupby(sorted(cells, key=_by_row), key=_by_row):
            recorded, measured = {cell.task: cell for cell in row}, []
            for task, cell in recorded.items():
                if (reason := _unmeasured(loaded, cell, stages)) is None:
                    measured.append(task)
                    continue
                skipped += 1
                yield CheckResult("not measured again", f"{_where(run, cell)}: {reason}")
            for score in _row(evaluator, loaded, stage, view, measured):
                yield _compared(run, here, recorded[score.task], score)
                compared += 1
        yield CheckResult("remeasure", _summary(compared, evaluator.measured, skipped))


@dataclass
class _CountingEvaluator(Evaluator):
    """An evaluator that ignores scores in the registry, and counts its measurements."""

    measured: int = 0

    @classmethod
    def of(
        cls,
        loaded: LoadedRun,
        cells: Sequence[Evaluation],
        scratch: ArtifactStore,
        progress: Progress,
    ) -> _CountingEvaluator:
        """Create it for these scores of a run; each distinct input is measured once."""
        tasks, whole = (
            [task.label for task in loaded.run.tasks],
            {t.label: len(t.examples) for t in loaded.eval_tasks},
        )
        sampled = {
            (str(cell.view), cell.stage, cell.task) for cell in cells if cell.n < whole.get(cell.task, 0)
        }
        return cls(
            loaded.base,
            loaded.model,
            loaded.method,
            scratch,
            progress,
            find_measured=lambda _: None,
            measure_all=False,
            is_sampled=lambda view, stage, own: (str(view), stage, tasks[own - 1]) in sampled,
        )

    def _write(self, *measured: Any) -> str:
        self.measured += 1
        return super()._write(*measured)


def _by_row(cell: Evaluation) -> tuple[int, str]:
    return cell.stage, str(cell.view)


def _row(
    evaluator: Evaluator, loaded: LoadedRun, stage: int, view: str, tasks: Sequence[str]
) -> Sequence[Evaluation]:
    if not tasks:
        return []
    if stage == 0:
        known = (*loaded.eval_tasks, *loaded.also)
        return evaluator.row_zero([eval_task for eval_task in known if eval_task.label in tasks])
    also = [eval_task for eval_task in loaded.also if eval_task.label in tasks]
    row = evaluator.row([View(view)], loaded.history[:stage], loaded.eval_tasks, only=tasks)
    return [*row, *evaluator.also_row(loaded.history[:stage], also)]


def _with_statistics(loaded: LoadedRun, registry: Registry) -> list[StageState]:
    """Return every finished stage, with its task's statistics if they are registered."""
    known = {of.task: of.artifact for of in registry.statistics(loaded.run.name)}
    return [
        replace(state, router=read_gathered(loaded, known[state.task])) if state.task in known else state
        for state in loaded.history
    ]


def _unmeasured(loaded: LoadedRun, cell: Evaluation, stages: Collection[int] | None) -> str | None:
    """Return why a cell is not measured, or None if it is."""
    if stages is not None and cell.stage not in stages:
        return f"--stages names {', '.join(str(stage) for stage in sorted(stages))}"
    learned = [*(state.task for state in loaded.history), *(each.label for each in loaded.also)]
    if cell.task not in learned:
        return "the run has not learned its task, so its question is not loaded"
    if cell.view == View.ROUTED:
        return _unrouted(loaded, cell)
    return None


def _unrouted(loaded: LoadedRun, cell: Evaluation) -> str | None:
    for state in loaded.history[: cell.stage]:
        if state.router is None and is_active_after(state.retired_after, cell.stage):
            return f"the registry has no statistics of task {state.task}"
    return None


def _where(run: Run, cell: Evaluation) -> str:
    at = f"stage {cell.stage} {run.stages[cell.stage - 1].task}" if cell.stage else "stage 0, the base model"
    return f"{at}, {cell.task} under {cell.view}"


def _compared(run: Run, here: Mapping[str, Any], recorded: Evaluation, score: Evaluation) -> CheckResult:
    """Raises: VerificationError, with the number of different outcomes and the largest difference."""
    stage = run.stages[recorded.stage - 1] if recorded.stage else None
    elsewhere = _elsewhere(run.environment if stage is None else run.environment_of(stage), here)
    with_what = run.base_digest if stage is None else stage.artifact
    where = _where(run, recorded)
    if len(score.outcomes) != len(recorded.outcomes):
        raise VerificationError(
            f"{where}: measured again on {len(score.outcomes):,} examples, and the registry has the outcomes "
            f"of {len(recorded.outcomes):,}"
        )
    gaps = [abs(one - other) for one, other in zip(score.outcomes, recorded.outcomes, strict=True)]
    differ = sum(gap > 0 for gap in gaps)
    if differ or repeatable_parts(score.parts) != repeatable_parts(recorded.parts):
        raise VerificationError(
            f"{where}: measured again with {with_what}, {differ:,} of {len(gaps):,} outcomes differ, by "
            f"{max(gaps):g} at most: the score is {score.score:g} by the answers {score.answers}, and the "
            f"registry says {recorded.score:g} by {recorded.answers}{elsewhere}"
        )
    return CheckResult("measured again", f"{where}: all {len(gaps):,} outcomes are equal{elsewhere}")


def _summary(compared: int, measured: int, skipped: int) -> str:
    same = f", of {measured:,} different inputs" if measured != compared else ""
    left = f"; {skipped:,} scores were not measured again" if skipped else "; none was left out"
    return f"{compared:,} scores are as recorded{same}{left}"


def _elsewhere(then: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Return the differences of the environment that can change last bits; empty if there are none."""
    changed = differing(result_relevant(then), here)
    changes = ", ".join(f"{field} {here[field]} (then {then[field]})" for field in changed)
    return f"; last bits may differ, with {changes}" if changes else ""
