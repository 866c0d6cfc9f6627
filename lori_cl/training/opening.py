"""Beginning a run, or opening one that is there: everything checked before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lori_cl.adapters import ForeignAdapter
from lori_cl.errors import RunConflict
from lori_cl.methods import METHODS, Method
from lori_cl.registry import Registry, Run, RunStart, Task, Workspace
from lori_cl.spec import CurriculumSpec
from lori_cl.training.base_model import BaseModel, load_base
from lori_cl.training.continuing import check_same_base, check_same_projections
from lori_cl.training.determinism import derive_seed, environment, make_deterministic
from lori_cl.training.evaluate import Question
from lori_cl.training.launch import is_writer, wait
from lori_cl.training.loading import read_history
from lori_cl.training.preparation import TrainingSet, architecture_of, prepare_question, prepare_training
from lori_cl.training.stage import check_settings
from lori_cl.training.stage_file import StageMemory


@dataclass(frozen=True)
class OpenRun:
    """A run with its model loaded and its data read."""

    workspace: Workspace
    registry: Registry
    run: Run
    """As it stood when it was opened."""
    curriculum: CurriculumSpec
    base: BaseModel
    model: Any
    """The base model with the method's adapter in it."""
    method: Method
    questions: Sequence[Question]
    """One a task, in the run's order."""
    training_sets: Mapping[str, TrainingSet]
    """By task label, of the stages that are not done."""
    history: Sequence[StageMemory]
    """The stages that were committed before."""

    def seed(self, purpose: str, task: Task) -> int:
        """A seed for one purpose in one task's stage."""
        return derive_seed(self.curriculum.seed, task.name, task.seed, purpose)


def open_run(
    workspace: Workspace,
    registry: Registry,
    curriculum: CurriculumSpec,
    tasks: Sequence[Task],
    name: str,
    run: Run | None,
    brought: ForeignAdapter | None = None,
) -> OpenRun:
    """Load the model, read the data, and only then begin the run or lengthen it.

    `brought` is a ready adapter that a new run begins with.

    Raises: InputError, if the model, the data, the capacity or the run does not allow it.
    """
    make_deterministic()
    check_settings(curriculum.train)
    base = load_base(curriculum.model, architecture_of(tasks))
    if run is not None:
        check_same_base(run, base.digest)
    method = METHODS[curriculum.method](curriculum)
    model = method.attach(base.model, derive_seed(curriculum.seed, "projection"))
    done = {stage.task for stage in run.stages} if run else set()
    questions = [prepare_question(workspace, task, curriculum, base.context) for task in tasks]
    history = read_history(workspace, run, questions, base) if run else []
    learned = [memory.learned for memory in history]
    if run is not None:
        check_same_projections(run, method, learned)
    standing = [each for each in learned if each.retired_after is None]
    method.check_room(standing, [task.label for task in tasks[len(history) :]])
    if brought is not None:
        method.check_adoptable(brought, [task.label for task in tasks])
    training_sets = {
        task.label: prepare_training(workspace, task, curriculum, base)
        for task in tasks
        if task.label not in done
    }
    if is_writer():
        _begin(registry, curriculum, tasks, name, run, base, method, brought)
    wait()
    return OpenRun(
        workspace=workspace,
        registry=registry,
        run=registry.run(name),
        curriculum=curriculum,
        base=base,
        model=model,
        method=method,
        questions=questions,
        training_sets=training_sets,
        history=history,
    )


def _begin(
    registry: Registry,
    curriculum: CurriculumSpec,
    tasks: Sequence[Task],
    name: str,
    run: Run | None,
    base: BaseModel,
    method: Method,
    brought: ForeignAdapter | None,
) -> None:
    """Store a new run, or what a run that is there goes on with."""
    projection = method.projection()
    known = run.projection if run is not None else None
    if projection is not None and (brought is not None or (known is not None and known.digest is None)):
        projection = replace(projection, digest=None)  # the A's stand in the stages' files
    if run is None:
        start = RunStart(name, curriculum.to_record(), tuple(tasks), base.digest, projection, environment())
        registry.begin_run(start)
        return
    if projection != run.projection:
        raise RunConflict(
            f"run '{name}': the projections drawn now have digest {_digest(projection)} and the run's have "
            f"{_digest(run.projection)}; its earlier cells would mean something else. "
            f"Run it with numpy {run.environment.get('numpy')}, as it was begun"
        )
    if (tuple(tasks), curriculum.to_record()) != (run.tasks, run.curriculum):
        registry.plan_tasks(name, curriculum.to_record(), tasks[len(run.stages) :])


def _digest(projection: Any) -> str:
    digest = projection and projection.digest
    return f"{digest[:16]}…" if digest else "none"
