"""Start a new run or open an existing one; every check runs before anything is stored."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lori_cl.adapters import describe_sites
from lori_cl.digest import derive_seed
from lori_cl.errors import InputError, RunConflict, one_line
from lori_cl.evaluation.loaded_run import LoadedModel, LoadedRun, load_model, projection_packages
from lori_cl.methods import METHODS, MaskedMethod, Method
from lori_cl.models.base_model import BaseModel
from lori_cl.registry import Registry, Run, RunStart, Task, Workspace
from lori_cl.runtime.distributed import join, on_rank_0
from lori_cl.runtime.environment import environment, make_deterministic
from lori_cl.runtime.sharding import check_precision
from lori_cl.spec import CurriculumSpec
from lori_cl.task_data.encoding import encoding_digest
from lori_cl.task_data.eval_tasks import check_eval_task, check_scorer
from lori_cl.task_data.protected_texts import with_protected_digest
from lori_cl.task_data.training_sets import (
    TrainingSet,
    changed_since_first_use,
    check_same_data,
    check_training,
    prepare_training,
)
from lori_cl.training.import_checks import ImportedAdapter, check_base, check_head, fit_to_model
from lori_cl.training.packing import check_packing
from lori_cl.training.trainer import check_settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenRun(LoadedRun):
    """A run to start or resume, as it was when opened; it has an eval task for every task, trained or not."""

    registry: Registry
    training_sets: Mapping[str, TrainingSet]
    """By task label, for the stages that are not finished."""
    environment: Mapping[str, Any]
    """The environment in which those stages are computed."""
    encodings: Mapping[str, str]
    """`encoding_digest` of every task's eval set, by label."""
    imported: ImportedAdapter | None = None
    """An adapter to import for the first of them."""

    def seed(self, purpose: str, task: Task) -> int:
        """Return the seed for one purpose in one task's stage."""
        return derive_seed(self.curriculum.seed, task.label, task.seed, purpose)


def set_up_process(curriculum: CurriculumSpec, folder: Path) -> tuple[CurriculumSpec, Mapping[str, Any]]:
    """Join the launcher's processes and request deterministic kernels.

    Returns the curriculum, with the method's default learning rate if it sets none and the digest of its
    protected texts, and the environment; its git revision is that of the folder.
    Raises: InputError, if the launcher's configuration contradicts the curriculum, or is not supported;
    DataError; RunConflict; see `with_protected_digest`.
    """
    check_precision(os.environ, curriculum.train.precision)
    train = curriculum.train
    lr = METHODS.find(curriculum.method).default_lr if train.lr is None else train.lr
    curriculum = curriculum.model_copy(update={"train": train.model_copy(update={"lr": lr})})
    curriculum = with_protected_digest(curriculum)
    join()
    make_deterministic()
    return curriculum, environment(folder)


@dataclass(frozen=True)
class PreparedRun:
    """A run that is loaded and checked, before anything is stored."""

    loaded: LoadedModel
    training_sets: Mapping[str, TrainingSet]
    """By task label, for the stages that are not finished."""
    encodings: Mapping[str, str]
    """`encoding_digest` of every task's eval set, by label."""
    imported: ImportedAdapter | None


def prepare_run(
    workspace: Workspace,
    registry: Registry,
    curriculum: CurriculumSpec,
    tasks: Sequence[Task],
    also: Sequence[Task],
    name: str,
    run: Run | None,
    imported: ImportedAdapter | None = None,
) -> PreparedRun:
    """Load the model, and read and check the data; nothing is stored.

    Raises: InputError, if the model, the data, the capacity or the existing run does not fit.
    """
    check_settings(curriculum.train)
    loaded = load_model(workspace, curriculum, tasks, also, run)
    method, untrained = loaded.method, tasks[len(loaded.history) :]
    if imported is not None:
        check_base(imported, loaded.base.digest)
        imported = fit_to_model(imported, loaded.base.model)
        if not isinstance(method, MaskedMethod):
            raise InputError(f"method '{curriculum.method}' cannot import an adapter; set method: lori")
        method.check_importable(imported.adapter, [task.label for task in tasks])
        check_head(imported, loaded)
    elif isinstance(method, MaskedMethod):
        method.check_capacity(loaded.history, [task.label for task in untrained])
    base = loaded.base
    if curriculum.train.packing:
        check_packing(base)
    encodings = {
        eval_task.label: encoding_digest(eval_task, base.tokenizer)
        for eval_task in (*loaded.eval_tasks, *loaded.also)
    }
    _check_eval_tasks(loaded, base.tokenizer)
    training_sets = {task.label: prepare_training(workspace, task, curriculum, base) for task in untrained}
    for task in untrained:
        _check_training_data(workspace, registry, task, training_sets[task.label], name)
    return PreparedRun(loaded, training_sets, encodings, imported)


def open_run(
    workspace: Workspace,
    registry: Registry,
    curriculum: CurriculumSpec,
    tasks: Sequence[Task],
    also: Sequence[Task],
    name: str,
    run: Run | None,
    environment: Mapping[str, Any],
    imported: ImportedAdapter | None = None,
) -> OpenRun:
    """Prepare a run, then store the new run or its added tasks.

    `imported` is an adapter to import as the first stage of a new run.

    Raises: InputError, see `prepare_run`.
    """
    prepared = prepare_run(workspace, registry, curriculum, tasks, also, name, run, imported)
    base, method = prepared.loaded.base, prepared.loaded.method
    origin = prepared.imported.digest if prepared.imported is not None else None
    on_rank_0(lambda: _store_run(registry, curriculum, tasks, name, run, base, method, environment, origin))
    return OpenRun(
        **vars(prepared.loaded),
        workspace=workspace,
        run=registry.run(name),
        curriculum=curriculum,
        registry=registry,
        training_sets=prepared.training_sets,
        environment=environment,
        encodings=prepared.encodings,
        imported=prepared.imported,
    )


def _check_eval_tasks(loaded: LoadedModel, tokenizer: Any) -> None:
    """Check the eval sets of untrained tasks with the model's tokenizer, and every scorer; log the warnings.

    Raises: DataError, see `check_eval_task`; ScoringFailed, see `check_scorer`.
    """
    untrained = loaded.eval_tasks[len(loaded.history) :]
    unseen = untrained if loaded.history else [*untrained, *loaded.also]
    warnings = [warning for eval_task in unseen for warning in check_eval_task(eval_task, tokenizer)]
    if untrained:  # otherwise nothing is scored, and the scorers may not be permitted
        scored = [*loaded.eval_tasks, *loaded.also]
        warnings += [warning for eval_task in scored for warning in check_scorer(eval_task)]
    for warning in warnings:
        log.warning("%s", one_line(warning))


def _check_training_data(
    workspace: Workspace, registry: Registry, task: Task, training_set: TrainingSet, run: str
) -> None:
    """Check a task's training examples against its eval set and against earlier training data.

    Raises: DataError, if the training examples contain eval examples; RunConflict, if an interrupted stage
    had other training data.
    """
    check_same_data(workspace, run, task, training_set)
    near = check_training(workspace, task, training_set)
    changed = changed_since_first_use(registry, task, training_set)
    if near is not None:
        log.info("%s", one_line(near))
    if changed is not None:
        log.warning("%s", one_line(changed))


def describe_base(loaded: LoadedModel) -> list[str]:
    """Return lines that say which parts of the base model are adapted, and whether texts are batched."""
    lines = describe_sites(loaded.selection)
    if not loaded.base.ignores_padding:
        lines.append("padding changes this model's output: every text is scored alone")
    return [one_line(line) for line in lines]


def _store_run(
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
    """Store a new run, or the added tasks of an existing one."""
    if run is not None and not run.stages:
        _check_same_start(run, imported)
    projection = method.projection() if isinstance(method, MaskedMethod) else None
    known = run.projection if run is not None else None
    if projection is not None and (imported or (known is not None and known.digest is None)):
        projection = replace(projection, digest=None)  # the stages' files hold the projections A
    if run is None:
        record = curriculum.to_record()
        start = RunStart(name, record, tuple(tasks), base.digest, projection, environment, imported)
        registry.begin_run(start)
        return
    if projection != run.projection:
        raise RunConflict(
            f"run '{name}': the projections drawn now have digest {_digest(projection)} and the run's have "
            f"{_digest(run.projection)}; its earlier cells are invalid under other projections. "
            f"Use {projection_packages(run)}, as when the run was started"
        )
    if (tuple(tasks), curriculum.to_record()) != (run.tasks, run.curriculum):
        registry.plan_tasks(name, curriculum.to_record(), tasks[len(run.stages) :])


def _check_same_start(run: Run, imported: str | None) -> None:
    """Check that a run without stages is resumed by the command that started it.

    Raises: RunConflict, naming that command.
    """
    if run.imported == imported:
        return
    command = f"lori-cl import of adapter {run.imported[:16]}…" if run.imported else "lori-cl run"
    now = f"{imported[:16]}…" if imported else "none"
    raise RunConflict(
        f"run '{run.name}' was started by {command}, which was interrupted (the adapter now: {now}); repeat "
        "that command, or choose another --name"
    )


def _digest(projection: Any) -> str:
    digest = projection and projection.digest
    return f"{digest[:16]}…" if digest else "none"
