"""Measure a run's scores again from its files, and compare them with the registry example by example."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from lori_cl.errors import InputError, Untruth
from lori_cl.registry import ArtifactStore, Evaluation, Registry, Run, Workspace, acts_after
from lori_cl.serving.verify import Checked
from lori_cl.spec import View
from lori_cl.tasks.scorers.pass_at_k import repeatable_parts
from lori_cl.training import LoadedRun, Observer, load_run
from lori_cl.training.environment import decisive, differing, environment
from lori_cl.training.examiner import Examiner
from lori_cl.training.gathering import read_gathered
from lori_cl.training.preparation import check_code_execution
from lori_cl.training.stage_file import StageMemory


@dataclass(frozen=True)
class RemeasureOptions:
    """What is scored again."""

    tasks: tuple[str, ...] = ()
    """Labels or names of learned tasks; none means all."""
    allow_code_execution: bool = False
    """Run the programs that the model writes, contained, where a task is scored by that."""
    stages: frozenset[int] | None = None
    """Rows of the matrix, 0 being the base model's; None means all."""


def remeasure(
    workspace: Workspace, registry: Registry, name: str, options: RemeasureOptions, observer: Observer
) -> Iterator[Checked]:
    """Score every cell of the matrix again: row 0, every stage, every view; nothing is written.

    Cells whose scores depend on the same inputs are measured once. A cell that is not measured is named, with
    the reason.
    Raises, at once: UnknownRun; UnknownTask; InputError, as `check_code_execution` says, or for a stage that
    is not there. From the iterator: InputError, as `load_run` says; Untruth, at the first score of which an
    outcome differs.
    """
    run = registry.run(name)
    learned = run.tasks[: len(run.stages)]
    wanted = [run.tasks[run.position(task)] for task in options.tasks] or learned
    _check_stages(run, options.stages)
    check_code_execution(wanted, options.allow_code_execution)
    cells = [e for e in registry.evaluations(name) if e.stage <= len(run.stages)]
    if options.tasks:
        labels = {task.label for task in wanted}
        cells = [cell for cell in cells if cell.task in labels]
    return _measured_again(workspace, registry, run, cells, options.stages, observer)


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
    observer: Observer,
) -> Iterator[Checked]:
    loaded = load_run(workspace, registry, run.name)
    loaded = replace(loaded, history=_with_statistics(loaded, registry))
    here, compared, skipped = environment(workspace.root), 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        examiner = _Counting.of(loaded, ArtifactStore(Path(scratch)), observer)
        for (stage, view), row in groupby(sorted(cells, key=_by_row), key=_by_row):
            recorded, asked = {cell.task: cell for cell in row}, []
            for task, cell in recorded.items():
                if (reason := _unmeasured(loaded, cell, stages)) is None:
                    asked.append(task)
                    continue
                skipped += 1
                yield Checked("not measured again", f"{_where(run, cell)}: {reason}")
            for score in _row(examiner, loaded, stage, view, asked):
                yield _compared(run, here, recorded[score.task], score)
                compared += 1
        yield Checked("remeasure", _summary(compared, examiner.measured, skipped))


@dataclass
class _Counting(Examiner):
    """An examiner that takes no score from the registry, and counts what it measures."""

    measured: int = 0

    @classmethod
    def of(cls, loaded: LoadedRun, scratch: ArtifactStore, observer: Observer) -> _Counting:
        """For a run; what it measures once, it does not measure again."""
        return cls(
            loaded.base,
            loaded.model,
            loaded.method,
            scratch,
            observer,
            find_measured=lambda _: None,
            measure_all=False,
        )

    def _write(self, *measured: Any) -> str:
        self.measured += 1
        return super()._write(*measured)


def _by_row(cell: Evaluation) -> tuple[int, str]:
    return cell.stage, str(cell.view)


def _row(
    examiner: Examiner, loaded: LoadedRun, stage: int, view: str, tasks: Sequence[str]
) -> Sequence[Evaluation]:
    if not tasks:
        return []
    if stage == 0:
        return examiner.row_zero([question for question in loaded.questions if question.label in tasks])
    return examiner.row([View(view)], loaded.history[:stage], loaded.questions, only=tasks)


def _with_statistics(loaded: LoadedRun, registry: Registry) -> list[StageMemory]:
    """Every finished stage, with its task's statistics where they are registered."""
    known = {of.task: of.artifact for of in registry.statistics(loaded.run.name)}
    return [
        replace(memory, gathered=read_gathered(loaded, known[memory.learned.task]))
        if memory.learned.task in known
        else memory
        for memory in loaded.history
    ]


def _unmeasured(loaded: LoadedRun, cell: Evaluation, stages: Collection[int] | None) -> str | None:
    """Why a cell is not measured; None where it is."""
    if stages is not None and cell.stage not in stages:
        return f"--stages names {', '.join(str(stage) for stage in sorted(stages))}"
    learned = [memory.learned.task for memory in loaded.history]
    if cell.task not in learned:
        return "the run has not learned its task, so its question is not loaded"
    if cell.view == View.ROUTED:
        return _unrouted(loaded, cell)
    return None


def _unrouted(loaded: LoadedRun, cell: Evaluation) -> str | None:
    for memory in loaded.history[: cell.stage]:
        if memory.gathered is None and acts_after(memory.learned.retired_after, cell.stage):
            return f"the registry has no statistics of task {memory.learned.task}"
    return None


def _where(run: Run, cell: Evaluation) -> str:
    at = f"stage {cell.stage} {run.stages[cell.stage - 1].task}" if cell.stage else "stage 0, the base model"
    return f"{at}, {cell.task} under {cell.view}"


def _compared(run: Run, here: Mapping[str, Any], recorded: Evaluation, score: Evaluation) -> Checked:
    """Raises: Untruth, with how many outcomes differ and by how much."""
    stage = run.stages[recorded.stage - 1] if recorded.stage else None
    elsewhere = _elsewhere(run.environment if stage is None else run.environment_of(stage), here)
    with_what = run.base_digest if stage is None else stage.artifact
    where = _where(run, recorded)
    if len(score.outcomes) != len(recorded.outcomes):
        raise Untruth(
            f"{where}: measured again on {len(score.outcomes):,} examples, and the registry has the outcomes "
            f"of {len(recorded.outcomes):,}"
        )
    gaps = [abs(one - other) for one, other in zip(score.outcomes, recorded.outcomes, strict=True)]
    differ = sum(gap > 0 for gap in gaps)
    if differ or repeatable_parts(score.parts) != repeatable_parts(recorded.parts):
        raise Untruth(
            f"{where}: measured again with {with_what}, {differ:,} of {len(gaps):,} outcomes differ, by "
            f"{max(gaps):g} at most: the score is {score.score:g} by the answers {score.answers}, and the "
            f"registry says {recorded.score:g} by {recorded.answers}{elsewhere}"
        )
    return Checked("measured again", f"{where}: all {len(gaps):,} outcomes are equal{elsewhere}")


def _summary(compared: int, measured: int, skipped: int) -> str:
    same = f", of {measured:,} different inputs" if measured != compared else ""
    left = f"; {skipped:,} scores were not measured again" if skipped else "; none was left out"
    return f"{compared:,} scores are as recorded{same}{left}"


def _elsewhere(then: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What of the environment can make the last bits differ; empty where nothing can."""
    changed = differing(decisive(then), here)
    told = ", ".join(f"{field} {here[field]} (then {then[field]})" for field in changed)
    return f"; last bits may differ, with {told}" if told else ""
