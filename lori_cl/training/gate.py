"""Regression gate: hold back a stage that lowers an earlier task's score by more than a limit."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from lori_cl.errors import ArtifactDamaged, ArtifactMissing, InputError, RegressionFound
from lori_cl.forgetting import paired_test
from lori_cl.forgetting.distinct import Groups
from lori_cl.registry import Evaluation, Registry, Run, ScoredStage, Task, Workspace
from lori_cl.registry.artifacts import Suffix
from lori_cl.runtime.distributed import on_rank_0
from lori_cl.spec import CurriculumSpec, View
from lori_cl.task_data.training_sets import clear_data_note
from lori_cl.tasks import from_jsonl, random_subset
from lori_cl.tasks.scorers.base import input_groups
from lori_cl.training.resume_checks import stage_inputs
from lori_cl.training.run_setup import OpenRun

log = logging.getLogger(__name__)

SIGNIFICANCE = 0.05
"""Significance level of the paired test: a drop counts if its p-value is below this."""

ROUNDING = 1e-9
"""Rounding error of a difference of two fractions, in points."""


@dataclass(frozen=True)
class Gate:
    """The drop below its best score that is allowed for an earlier task.

    Example:
        >>> import lori_cl as cl
        >>> gate = cl.Gate(max_drop=1.5)  # points, in the current view
        >>> gate.max_drop, str(gate.view)
        (1.5, 'current')
    """

    max_drop: float
    """Points."""
    view: View = View.CURRENT

    def drops(
        self,
        before: Sequence[Evaluation],
        now: Sequence[Evaluation],
        groups: Mapping[str, Groups | None] | None = None,
    ) -> list[str]:
        """Describe every significant drop larger than `max_drop`, one message a task.

        A task's score in the gate's view is compared with its best earlier score in that view on as many
        examples, by the paired test. `groups` maps a task to the groups of its examples that have the same
        input.
        """
        found = []
        for score in now:
            known = [
                e
                for e in before
                if (e.task, e.view) == (score.task, score.view) and len(e.outcomes) == len(score.outcomes)
            ]
            if score.view == self.view and known:
                best = max(known, key=lambda e: (e.score, -e.stage))
                found.append(self._drop(best, score, (groups or {}).get(score.task)))
        return [drop for drop in found if drop is not None]

    def _drop(self, best: Evaluation, now: Evaluation, groups: Groups | None) -> str | None:
        drop = 100 * (best.score - now.score)
        test = paired_test(best.outcomes, now.outcomes, groups=groups)
        if drop <= self.max_drop + ROUNDING or test.p_value is None or test.p_value >= SIGNIFICANCE:
            return None
        return (
            f"'{now.task}' fell by {drop:.1f} points, from {100 * best.score:.1f} % after stage {best.stage} "
            f"to {100 * now.score:.1f} % (paired test, p = {test.p_value:.2g})"
        )


def check_gate(gate: Gate | None, curriculum: CurriculumSpec) -> None:
    """Check that the gate's limit is finite, and that the run is scored in the gate's view.

    Raises: InputError.
    """
    views = curriculum.eval.views
    if gate is not None and not math.isfinite(gate.max_drop):
        raise InputError(f"--max-drop {gate.max_drop}: not a finite number; give a number of points")
    if gate is not None and gate.view not in views:
        raise InputError(f"--view {gate.view}: not one of the curriculum's eval.views ({', '.join(views)})")


def apply_gate(opened: OpenRun, stage: ScoredStage, gate: Gate) -> None:
    """Check a stage that was just scored against the gate; hold it back if it fails.

    Raises: RegressionFound, if an earlier task fell by more than the gate allows; WorkspaceUnusable.
    """
    name = opened.run.name
    # A stage that is held back may be trained again on other data.
    on_rank_0(lambda: clear_data_note(opened.workspace, name))
    groups = {eval_task.label: input_groups(eval_task.examples) for eval_task in opened.eval_tasks}
    _pass_or_hold_back(
        opened.registry, opened.registry.run(name), stage, gate, opened.workspace.held_back_file(name), groups
    )


def resolve_held_back(
    workspace: Workspace,
    registry: Registry,
    curriculum: CurriculumSpec,
    tasks: Sequence[Task],
    run: Run | None,
    gate: Gate | None,
    accept: str | None,
) -> Run | None:
    """Commit, keep or ignore the run's stage that is held back; return the run as it is then.

    `tasks` are the curriculum's. The stage is committed if its task is accepted or if it passes the gate
    now. A stage that no longer matches the next task to train is ignored, and the next task is trained.
    Raises: RegressionFound, if the stage stays held back; InputError, if the accepted task is neither held
    back nor committed; ArtifactDamaged; WorkspaceUnusable.
    """
    held_back = on_rank_0(lambda: _uncommitted(workspace, run)) if run is not None else None
    fits = run is not None and held_back is not None and _is_next(held_back, run, tasks, curriculum)
    accepted = None if accept is None else _accepted(accept, tasks, run, held_back, fits=fits)
    if run is None or held_back is None:
        return run
    if not fits:
        if len(run.stages) < len(tasks):
            log.warning(
                "run '%s': %s; training %s", run.name, _outdated(held_back), tasks[len(run.stages)].label
            )
        return run
    file = workspace.held_back_file(run.name)
    _check_files(workspace, held_back, file)
    if accepted != held_back.stage.task:
        if gate is None:
            raise RegressionFound(_message(held_back, file))
        groups = {task.label: _groups(workspace, task, curriculum) for task in tasks}
        _pass_or_hold_back(registry, run, held_back, gate, file, groups)
    return on_rank_0(lambda: workspace.commit_stage(registry, run.name, held_back))


def _uncommitted(workspace: Workspace, run: Run) -> ScoredStage | None:
    """Return the run's held-back stage; remove its file if the stage is committed.

    The process was then killed between the commit and the removal.
    """
    held_back = ScoredStage.read(workspace.held_back_file(run.name))
    if held_back is not None and held_back.stage.artifact in {done.artifact for done in run.stages}:
        workspace.clear_stage(run.name)
        return None
    return held_back


def _check_files(workspace: Workspace, held_back: ScoredStage, file: Path) -> None:
    """Check, before a held-back stage is committed, that every file it refers to exists and is intact.

    Raises: ArtifactMissing or ArtifactDamaged, with what to do.
    """
    try:
        for sha256, (suffix, _) in held_back.files.items():
            workspace.artifacts.get(sha256, cast(Suffix, suffix))
        for score in held_back.evaluations:
            workspace.artifacts.get(score.answers, "jsonl")
    except (ArtifactMissing, ArtifactDamaged) as error:
        name = f"stage {held_back.stage.position} {held_back.stage.task}"
        stage = f"{name}, which is held back, cannot be committed"
        raise type(error)(f"{stage}: {error}; or remove {file} to train it again") from None


def _is_next(held_back: ScoredStage, run: Run, tasks: Sequence[Task], curriculum: CurriculumSpec) -> bool:
    """Whether the held-back stage is the stage that the run would train next."""
    done = len(run.stages)
    if not held_back.follows(run) or min(len(tasks), len(run.tasks)) <= done:
        return False
    next_task, planned = tasks[done], run.tasks[done]
    return next_task.label == planned.label == held_back.stage.task and held_back.made_from == stage_inputs(
        curriculum, next_task
    )


def _accepted(
    accept: str, tasks: Sequence[Task], run: Run | None, held_back: ScoredStage | None, *, fits: bool
) -> str | None:
    """Return the label of the accepted task.

    The task may be committed already, because the same command is repeated to resume a run.
    Raises: InputError, naming the stage that is held back.
    """
    labels = {**{task.name: task.label for task in tasks}, **{task.label: task.label for task in tasks}}
    label = labels.get(accept)
    if run is not None and label in {done.task for done in run.stages}:
        return label
    if held_back is None:
        raise InputError(f"--accept {accept}: no stage of this run is held back")
    if not fits:
        raise InputError(
            f"--accept {accept}: {_outdated(held_back)}; repeat the command without --accept to ignore it"
        )
    if label != held_back.stage.task:
        raise InputError(
            f"--accept {accept}: the stage held back is {held_back.stage.position} {held_back.stage.task}; "
            f"use --accept {held_back.stage.task} to commit it"
        )
    return label


def _outdated(held_back: ScoredStage) -> str:
    stage = f"stage {held_back.stage.position} {held_back.stage.task}"
    return f"{stage}, which is held back, was trained for different tasks, stages or settings"


def _groups(workspace: Workspace, task: Task, curriculum: CurriculumSpec) -> Groups | None:
    """Return the groups of examples of a task's eval set that have the same input."""
    examples = from_jsonl(workspace.artifacts.get(task.eval_set.digest, "jsonl"))
    return input_groups(random_subset(examples, curriculum.eval.limit, task.seed))


def _pass_or_hold_back(
    registry: Registry,
    run: Run,
    stage: ScoredStage,
    gate: Gate,
    file: Path,
    groups: Mapping[str, Groups | None],
) -> None:
    trained = {done.task for done in run.stages if done.retired_after is None}
    before = [e for e in registry.evaluations(run.name) if e.task in trained and e.stage > 0]
    drops = gate.drops(before, stage.evaluations, groups)
    if not drops:
        return
    reason = (
        f"stage {stage.stage.position}/{len(run.tasks)} {stage.stage.task}: in the view {gate.view}, "
        f"{'; '.join(drops)}; the limit is {gate.max_drop:g} points"
    )
    stage = replace(stage, why=reason)
    on_rank_0(lambda: stage.write(file))
    raise RegressionFound(_message(stage, file))


def _message(stage: ScoredStage, file: Path) -> str:
    remedy = f"to commit it, use --accept {stage.stage.task}"
    return f"{stage.why}. It is held back, not committed: see {file}; {remedy}"
