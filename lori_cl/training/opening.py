"""Beginning a run, or opening one that is there: everything checked before anything is stored."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lori_cl.adapters import describe_sites
from lori_cl.errors import RunConflict, one_line
from lori_cl.methods import Method
from lori_cl.registry import Registry, Run, RunStart, Task, Workspace
from lori_cl.spec import CurriculumSpec
from lori_cl.training.base_model import BaseModel
from lori_cl.training.continuing import drawn_with
from lori_cl.training.determinism import derive_seed
from lori_cl.training.encoding import encoding_digest
from lori_cl.training.evaluate import Question
from lori_cl.training.imported import Imported, check_base, check_head, fitted
from lori_cl.training.launch import is_writer, wait
from lori_cl.training.loading import LoadedRun, Stood, stand
from lori_cl.training.preparation import TrainingSet, check_question, check_training, prepare_training
from lori_cl.training.stage import check_settings
from lori_cl.training.training_data import changed_since_first_use, check_same_data

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenRun(LoadedRun):
    """A run, as it stood when it was opened, that goes on: with a question for every task, learned or not."""

    registry: Registry
    training_sets: Mapping[str, TrainingSet]
    """By task label, of the stages that are not done."""
    environment: Mapping[str, Any]
    """What they are computed with."""
    encodings: Mapping[str, str]
    """`encoding_digest` of every task's eval set, by label."""
    imported: Imported | None = None
    """A ready adapter for the first of them."""

    def seed(self, purpose: str, task: Task) -> int:
        """A seed for one purpose in one task's stage."""
        return derive_seed(self.curriculum.seed, task.label, task.seed, purpose)


def open_run(
    workspace: Workspace,
    registry: Registry,
    curriculum: CurriculumSpec,
    tasks: Sequence[Task],
    name: str,
    run: Run | None,
    environment: Mapping[str, Any],
    imported: Imported | None = None,
) -> OpenRun:
    """Load the model, read the data, and only then begin the run or lengthen it.

    `imported` is a ready adapter that a new run begins with.

    Raises: InputError, if the model, the data, the capacity or the run does not allow it.
    """
    check_settings(curriculum.train)
    stood = stand(workspace, curriculum, tasks, run)
    method, to_come = stood.method, tasks[len(stood.history) :]
    if imported is None:
        method.check_room([memory.learned for memory in stood.history], [task.label for task in to_come])
    else:
        check_base(imported, stood.base.digest)
        imported = fitted(imported, stood.base.model)
        method.check_importable(imported.adapter, [task.label for task in tasks])
        check_head(imported, stood)
    base = stood.base
    encodings = {of.label: encoding_digest(of, base.tokenizer) for of in stood.questions}
    _check_questions(stood.questions[len(stood.history) :], base.tokenizer)
    training_sets = {task.label: prepare_training(workspace, task, curriculum, base) for task in to_come}
    for task in to_come:
        _check_training_data(workspace, registry, task, training_sets[task.label], name)
    if is_writer():
        digest = imported.digest if imported is not None else None
        _begin(registry, curriculum, tasks, name, run, base, method, environment, digest)
    wait()
    return OpenRun(
        **vars(stood),
        workspace=workspace,
        run=registry.run(name),
        curriculum=curriculum,
        registry=registry,
        training_sets=training_sets,
        environment=environment,
        encodings=encodings,
        imported=imported,
    )


def _check_questions(questions: Sequence[Question], tokenizer: Any) -> None:
    """Check the eval sets of tasks to come with the model's tokenizer; log the warnings.

    Raises: DataError, as `check_question` says.
    """
    for question in questions:
        warnings = check_question(question, tokenizer)
        for warning in warnings if is_writer() else []:
            log.warning("%s", one_line(warning))


def _check_training_data(
    workspace: Workspace, registry: Registry, task: Task, training_set: TrainingSet, run: str
) -> None:
    """Check a task's training examples against its eval set and against what was trained on before.

    Raises: DataError, if eval examples are trained on; RunConflict, if an interrupted stage had other data.
    """
    check_same_data(workspace, run, task, training_set)
    near = check_training(workspace, task, training_set)
    changed = changed_since_first_use(registry, task, training_set)
    if near is not None and is_writer():
        log.info("%s", one_line(near))
    if changed is not None and is_writer():
        log.warning("%s", one_line(changed))


def describe_base(stood: Stood) -> list[str]:
    """Lines that say what of the base model is adapted and what is not, and how it is read."""
    lines = describe_sites(stood.selection)
    if not stood.base.ignores_padding:
        lines.append("padding changes what this model makes of a text: every text is scored alone")
    return [one_line(line) for line in lines]


def _begin(
    registry: Registry,
    curriculum: CurriculumSpec,
    tasks: Sequence[Task],
    name: str,
    run: Run | None,
    base: BaseModel,
    method: Method,
    environment: Mapping[str, Any],
    imported: str | None,
) -> None:
    """Store a new run, or what a run that is there goes on with."""
    if run is not None and not run.stages:
        _check_begun_so(run, imported)
    projection = method.projection()
    known = run.projection if run is not None else None
    if projection is not None and (imported or (known is not None and known.digest is None)):
        projection = replace(projection, digest=None)  # the A's stand in the stages' files
    if run is None:
        record = curriculum.to_record()
        start = RunStart(name, record, tuple(tasks), base.digest, projection, environment, imported)
        registry.begin_run(start)
        return
    if projection != run.projection:
        raise RunConflict(
            f"run '{name}': the projections drawn now have digest {_digest(projection)} and the run's have "
            f"{_digest(run.projection)}; its earlier cells would mean something else. "
            f"Use {drawn_with(run)}, as the run was begun with"
        )
    if (tuple(tasks), curriculum.to_record()) != (run.tasks, run.curriculum):
        registry.plan_tasks(name, curriculum.to_record(), tasks[len(run.stages) :])


def _check_begun_so(run: Run, imported: str | None) -> None:
    """Make sure that a run that has learned nothing yet is begun again as it was begun.

    Raises: RunConflict, with what began it.
    """
    if run.imported == imported:
        return
    began = f"lori-cl import of adapter {run.imported[:16]}…" if run.imported else "lori-cl run"
    now = f"{imported[:16]}…" if imported else "none"
    raise RunConflict(
        f"run '{run.name}' was begun by {began}, which broke off (the adapter now: {now}); call that again, "
        "or choose another --name"
    )


def _digest(projection: Any) -> str:
    digest = projection and projection.digest
    return f"{digest[:16]}…" if digest else "none"
