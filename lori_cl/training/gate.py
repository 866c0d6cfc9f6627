"""A regression gate: what a stage may cost the tasks before it, and what becomes of one that costs more."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from lori_cl.errors import ArtifactDamaged, ArtifactMissing, InputError, RegressionFound
from lori_cl.forgetting import paired_test
from lori_cl.forgetting.distinct import Groups
from lori_cl.registry import Evaluation, Registry, Run, SetAside, Task, Workspace
from lori_cl.registry.artifacts import Suffix
from lori_cl.spec import CurriculumSpec, View
from lori_cl.tasks import drawn, from_jsonl
from lori_cl.tasks.scorers.base import input_groups
from lori_cl.training.committing import clear, commit
from lori_cl.training.continuing import settings_of
from lori_cl.training.launch import is_writer, wait
from lori_cl.training.opening import OpenRun

log = logging.getLogger(__name__)

SIGNIFICANCE = 0.05
"""A drop counts where chance alone would give one as large less often than this."""


ROUNDING = 1e-9
"""Points that a difference of two fractions may be off by."""


@dataclass(frozen=True)
class Gate:
    """How far an earlier task may fall below its best score."""

    max_drop: float
    """Points."""
    view: View = View.CURRENT

    def losses(
        self,
        before: Sequence[Evaluation],
        now: Sequence[Evaluation],
        groups: Mapping[str, Groups | None] | None = None,
    ) -> list[str]:
        """Of the tasks that are scored now, under the gate's view, those that fell by more than is allowed
        since their best score before, if the paired test says that it is real: each in words with its
        numbers. `groups` say by task which examples have the same input."""
        found = []
        for score in now:
            known = [e for e in before if (e.task, e.view) == (score.task, score.view)]
            if score.view == self.view and known:
                best = max(known, key=lambda e: (e.score, -e.stage))
                found.append(self._loss(best, score, (groups or {}).get(score.task)))
        return [loss for loss in found if loss is not None]

    def _loss(self, best: Evaluation, now: Evaluation, groups: Groups | None) -> str | None:
        drop = 100 * (best.score - now.score)
        test = paired_test(best.outcomes, now.outcomes, groups=groups)
        if drop <= self.max_drop + ROUNDING or test.p_value is None or test.p_value >= SIGNIFICANCE:
            return None
        return (
            f"'{now.task}' fell by {drop:.1f} points, from {100 * best.score:.1f} % after stage {best.stage} "
            f"to {100 * now.score:.1f} % (paired test, p = {test.p_value:.2g})"
        )


def check_gate(gate: Gate | None, curriculum: CurriculumSpec) -> None:
    """Make sure that the gate can close, and that the run is scored under its view.

    Raises: InputError.
    """
    views = curriculum.eval.views
    if gate is not None and not math.isfinite(gate.max_drop):
        raise InputError(f"--max-drop {gate.max_drop}: no drop is larger; give a number of points")
    if gate is not None and gate.view not in views:
        raise InputError(f"--view {gate.view}: the curriculum's eval.views are {', '.join(views)}")


def declared(curriculum: CurriculumSpec, task: Task) -> dict[str, Any]:
    """All that decides what a task's stage learns and scores, but for the stages before it: JSON values."""
    return {
        "settings": settings_of(curriculum, task),
        "eval": curriculum.eval.model_dump(mode="json"),
        "task": task.spec,
        "eval_set": task.eval_set.digest,
    }


def admit(opened: OpenRun, stage: SetAside, gate: Gate) -> None:
    """Let a stage that was just scored pass, or set it aside.

    Raises: RegressionFound, if an earlier task fell by more than the gate allows; WorkspaceUnusable.
    """
    name = opened.run.name
    groups = {question.label: input_groups(question.examples) for question in opened.questions}
    _pass_or_keep(
        opened.registry, opened.registry.run(name), stage, gate, opened.workspace.aside(name), groups
    )


def settle(
    workspace: Workspace,
    registry: Registry,
    curriculum: CurriculumSpec,
    tasks: Sequence[Task],
    run: Run | None,
    gate: Gate | None,
    accept: str | None,
) -> Run | None:
    """The run, once it is decided what becomes of a stage of it that was set aside; `tasks` are the
    curriculum's.

    It is committed if its task is accepted, or if it passes the gate now. Where it is not what comes next any
    more, it is left, and what comes next is trained.
    Raises: RegressionFound, if it stays aside; InputError, if the accepted task is neither aside nor
    committed; ArtifactDamaged; WorkspaceUnusable.
    """
    kept = SetAside.read(workspace.aside(run.name)) if run is not None else None
    wait()  # every process has read the run and the file before the writer changes one
    if run is not None and kept is not None and kept.stage.artifact in {done.artifact for done in run.stages}:
        if is_writer():
            clear(workspace, run.name)  # a kill left it there after the commit
        kept = None
    fits = run is not None and kept is not None and _comes_next(kept, run, tasks, curriculum)
    accepted = None if accept is None else _accepted(accept, tasks, run, kept, fits=fits)
    if run is None or kept is None:
        return run
    if not fits:
        if is_writer() and len(run.stages) < len(tasks):
            log.warning(
                "run '%s': %s; %s is trained", run.name, _outdated(kept), tasks[len(run.stages)].label
            )
        return run
    file = workspace.aside(run.name)
    _check_files(workspace, kept, file)
    if accepted != kept.stage.task:
        if gate is None:
            raise RegressionFound(_words(kept, file))
        groups = {task.label: _groups(workspace, task, curriculum) for task in tasks}
        _pass_or_keep(registry, run, kept, gate, file, groups)
    commit(workspace, registry, run.name, kept)
    return registry.run(run.name)


def _check_files(workspace: Workspace, kept: SetAside, file: Path) -> None:
    """Make sure, before a stage that was held back is committed, that all files it names are there.

    Raises: ArtifactMissing or ArtifactDamaged, with what to do.
    """
    try:
        for sha256, (suffix, _) in kept.files.items():
            workspace.artifacts.get(sha256, cast(Suffix, suffix))
        for score in kept.evaluations:
            workspace.artifacts.get(score.answers, "jsonl")
    except (ArtifactMissing, ArtifactDamaged) as error:
        stage = f"stage {kept.stage.position} {kept.stage.task}, which is held back, cannot be committed"
        raise type(error)(f"{stage}: {error}; or remove {file} to train it again") from None


def _comes_next(kept: SetAside, run: Run, tasks: Sequence[Task], curriculum: CurriculumSpec) -> bool:
    """Whether what was set aside is what the run would learn now."""
    done = len(run.stages)
    if not kept.follows(run) or min(len(tasks), len(run.tasks)) <= done:
        return False
    asked, planned = tasks[done], run.tasks[done]
    return asked.label == planned.label == kept.stage.task and kept.made_from == declared(curriculum, asked)


def _accepted(
    accept: str, tasks: Sequence[Task], run: Run | None, kept: SetAside | None, *, fits: bool
) -> str | None:
    """The label of the task that is accepted, which may be committed already: a command is given again when a
    run goes on.

    Raises: InputError, with what is set aside.
    """
    labels = {**{task.name: task.label for task in tasks}, **{task.label: task.label for task in tasks}}
    label = labels.get(accept)
    if run is not None and label in {done.task for done in run.stages}:
        return label
    if kept is None:
        raise InputError(f"--accept {accept}: no stage of this run is set aside")
    if not fits:
        raise InputError(f"--accept {accept}: {_outdated(kept)}; without --accept the run goes on without it")
    if label != kept.stage.task:
        raise InputError(
            f"--accept {accept}: set aside is stage {kept.stage.position} {kept.stage.task}; "
            f"--accept {kept.stage.task} takes it"
        )
    return label


def _outdated(kept: SetAside) -> str:
    stage = f"stage {kept.stage.position} {kept.stage.task}"
    return f"{stage}, which is set aside, was made for other tasks, stages or settings than there are now"


def _groups(workspace: Workspace, task: Task, curriculum: CurriculumSpec) -> Groups | None:
    """Which examples of a task's eval set have the same input."""
    examples = from_jsonl(workspace.artifacts.get(task.eval_set.digest, "jsonl"))
    return input_groups(drawn(examples, curriculum.eval.limit, task.seed))


def _pass_or_keep(
    registry: Registry,
    run: Run,
    stage: SetAside,
    gate: Gate,
    file: Path,
    groups: Mapping[str, Groups | None],
) -> None:
    learned = {done.task for done in run.stages if done.retired_after is None}
    before = [e for e in registry.evaluations(run.name) if e.task in learned and e.stage > 0]
    losses = gate.losses(before, stage.evaluations, groups)
    if not losses:
        return
    why = (
        f"stage {stage.stage.position}/{len(run.tasks)} {stage.stage.task}: in the view {gate.view}, "
        f"{'; '.join(losses)}; {gate.max_drop:g} points are allowed"
    )
    stage = replace(stage, why=why)
    if is_writer():
        stage.write(file)
    wait()
    raise RegressionFound(_words(stage, file))


def _words(stage: SetAside, file: Path) -> str:
    return f"{stage.why}. It is set aside and not committed: see {file}; --accept {stage.stage.task} takes it"
