"""A regression gate: what a stage may cost the tasks before it, and what becomes of one that costs more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lori_cl.errors import InputError, RegressionFound
from lori_cl.forgetting import paired_test
from lori_cl.registry import Evaluation, Registry, Run, SetAside, Task, Workspace
from lori_cl.spec import CurriculumSpec, View
from lori_cl.training.continuing import settings_of
from lori_cl.training.launch import is_writer, wait
from lori_cl.training.opening import OpenRun

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

    def losses(self, before: Sequence[Evaluation], now: Sequence[Evaluation]) -> list[str]:
        """Of the tasks that are scored now, under the gate's view, those that fell by more than is allowed
        since their best score before, if the paired test says that it is real: each in words with its
        numbers."""
        found = []
        for score in now:
            known = [e for e in before if (e.task, e.view) == (score.task, score.view)]
            if score.view == self.view and known:
                found.append(self._loss(max(known, key=lambda e: (e.score, -e.stage)), score))
        return [loss for loss in found if loss is not None]

    def _loss(self, best: Evaluation, now: Evaluation) -> str | None:
        drop, test = 100 * (best.score - now.score), paired_test(best.outcomes, now.outcomes)
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


def admit(opened: OpenRun, stage: SetAside, gate: Gate) -> None:
    """Let a stage that was just scored pass, or set it aside.

    Raises: RegressionFound, if an earlier task fell by more than the gate allows.
    """
    name = opened.run.name
    _pass_or_keep(opened.registry, opened.registry.run(name), stage, gate, opened.workspace.aside(name))


def settle(
    workspace: Workspace,
    registry: Registry,
    curriculum: CurriculumSpec,
    tasks: Sequence[Task],
    run: Run | None,
    gate: Gate | None,
    *,
    accept: bool,
) -> Run | None:
    """The run, once it is decided what becomes of a stage of it that was set aside; `tasks` are the
    curriculum's.

    It is committed if it is accepted, or passes the gate now.
    Raises: RegressionFound, if it stays aside; InputError, if there is none to accept; ArtifactDamaged.
    """
    file = workspace.aside(run.name) if run is not None else None
    kept = SetAside.read(file) if file is not None else None
    wait()  # every process has read it before the writer removes it
    if run is None or file is None or kept is None or not _comes_next(kept, run, tasks, curriculum):
        if accept:
            raise InputError("--accept: no stage of this run is set aside")
        return run
    if not accept and gate is None:
        raise RegressionFound(_words(kept.why, file))
    if not accept and gate is not None:
        _pass_or_keep(registry, run, kept, gate, file)
    if is_writer():
        registry.commit_stage(run.name, kept.stage, kept.evaluations, kept.files, kept.statistics)
        file.unlink()
    wait()
    return registry.run(run.name)


def _comes_next(kept: SetAside, run: Run, tasks: Sequence[Task], curriculum: CurriculumSpec) -> bool:
    """Whether what was set aside is what the run would learn now."""
    done = len(run.stages)
    if kept.stage.position != done + 1 or min(len(tasks), len(run.tasks)) <= done:
        return False
    asked, planned = tasks[done], run.tasks[done]
    return asked.label == planned.label == kept.stage.task and kept.settings == settings_of(curriculum, asked)


def _pass_or_keep(registry: Registry, run: Run, stage: SetAside, gate: Gate, file: Path) -> None:
    learned = {done.task for done in run.stages if done.retired_after is None}
    before = [e for e in registry.evaluations(run.name) if e.task in learned and e.stage > 0]
    losses = gate.losses(before, stage.evaluations)
    if not losses:
        return
    why = (
        f"stage {stage.stage.position}/{len(run.tasks)} {stage.stage.task}: in the view {gate.view}, "
        f"{'; '.join(losses)}; {gate.max_drop:g} points are allowed"
    )
    if is_writer():
        replace(stage, why=why).write(file)
    wait()
    raise RegressionFound(_words(why, file))


def _words(why: str, file: Path) -> str:
    return f"{why}. It is set aside and not committed: see {file}; --accept takes it"
