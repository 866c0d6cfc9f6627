"""Run a curriculum: train, score and commit one stage after another."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lori_cl.errors import RunConflict
from lori_cl.methods import METHODS, check_settings
from lori_cl.registry import Evaluation, HeldBackStage, Run, Stage, StatisticsRecord, Task, Workspace
from lori_cl.spec import CurriculumSpec, View
from lori_cl.training.cached_scores import find_cached
from lori_cl.training.determinism import make_deterministic
from lori_cl.training.distributed import (
    DistributedProgress,
    broadcast_from_rank_0,
    is_rank_0,
    join,
    lock_run,
    wait,
)
from lori_cl.training.environment import check_same_environment, environment
from lori_cl.training.evaluator import Evaluator
from lori_cl.training.gate import Gate, apply_gate, check_gate, resolve_held_back, stage_inputs
from lori_cl.training.import_checks import ImportedAdapter
from lori_cl.training.progress import Progress
from lori_cl.training.resume_checks import check_same_settings, pinned_tasks
from lori_cl.training.routing_statistics import gather, load_statistics
from lori_cl.training.run_setup import OpenRun, describe_base, open_run
from lori_cl.training.stage_commit import commit
from lori_cl.training.stage_file import FinishedStage
from lori_cl.training.stage_training import (
    StagePlan,
    TrainedStage,
    import_stage_adapter,
    parent_stages,
    train_stage,
)
from lori_cl.training.task_data import check_code_execution
from lori_cl.training.training_data import clear_data_note, note_data

log = logging.getLogger(__name__)

TrainStage = Callable[[StagePlan], TrainedStage]
"""Makes a stage's adapter by training it or by importing it."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that are not part of its curriculum."""

    upper_triangle: bool = False
    """Also score the tasks that are not trained yet."""
    measure_all: bool = False
    """Measure every score, even if it is cached."""
    allow_code_execution: bool = False
    """Run model-written programs, contained, for tasks that are scored by running them."""
    gate: Gate | None = None
    """Hold back a stage that lowers an earlier task's score too much."""
    accept: str | None = None
    """Commit the held-back stage of this task (label or name); the stage may be committed already."""
    allow_environment_change: bool = False
    """Resume a run although its environment changed in a way that can change results."""
    declared_in: Path | None = None
    """The curriculum file's folder, whose git revision is recorded; None: the workspace."""
    announce: Callable[[str], None] = log.info
    """Called before training with each line that says which parts of the base model are adapted."""
    callbacks: Sequence[Any] = ()
    """`transformers.TrainerCallback`s of the training of each stage."""


def run_curriculum(
    workspace: Workspace, curriculum: CurriculumSpec, name: str, options: RunOptions, progress: Progress
) -> Run:
    """Train and score every stage of the curriculum that is not committed yet.

    Invalid input is reported before the first training step and before anything is stored.
    Raises: InputError; RunConflict, if another process holds the run's lock; LoriError, if a stage fails.
    Committed data is kept.
    """
    curriculum = _with_learning_rate(curriculum)
    check_gate(options.gate, curriculum)
    here = _environment(workspace, options)
    progress = DistributedProgress(progress)
    with workspace.open() as registry, lock_run(workspace, name):
        run = registry.find_run(name)
        tasks = pinned_tasks(registry, curriculum, run)
        _check_settings(curriculum, run)
        run = resolve_held_back(workspace, registry, curriculum, tasks, run, options.gate, options.accept)
        if run is not None:
            complete = len(run.tasks) == len(run.stages) == len(tasks)
            if complete and not options.upper_triangle:
                return run
            check_same_environment(run, here, change_allowed=options.allow_environment_change)
        check_code_execution(tasks, options.allow_code_execution)
        opened = open_run(workspace, registry, curriculum, tasks, name, run, here)
        _announce(opened, options)
        evaluator = _evaluator(opened, options, progress)
        with progress.bar(name, len(tasks)) as advance:
            _score_row_zero(opened, evaluator)
            opened = _with_statistics(opened, progress)
            if options.upper_triangle:
                _score_untrained_tasks(opened, evaluator)
            history = list(opened.history)
            advance(len(history))
            for task in tasks[len(history) :]:
                history.append(_run_stage(opened, evaluator, history, task, options, progress))
                advance(1)
        return registry.run(name)


def import_adapter(
    workspace: Workspace,
    curriculum: CurriculumSpec,
    name: str,
    imported: ImportedAdapter,
    options: RunOptions,
    progress: Progress,
) -> Run:
    """Start a curriculum's run with an existing adapter for its first task; `run_curriculum` trains the rest.

    Invalid adapters and curricula are reported before anything is stored. Repeating an interrupted import
    resumes it.
    Raises: InputError; RunConflict, if the run already has stages, or another process holds its lock;
    LoriError.
    """
    curriculum = _with_learning_rate(curriculum)
    here = _environment(workspace, options)
    progress = DistributedProgress(progress)
    with workspace.open() as registry, lock_run(workspace, name):
        run = registry.find_run(name)
        if run is not None and run.stages:
            raise RunConflict(
                f"run '{name}' already has stages; an import starts a new run: choose another --name"
            )
        tasks = pinned_tasks(registry, curriculum, run)
        _check_settings(curriculum, run)
        check_code_execution(tasks, options.allow_code_execution)
        opened = open_run(workspace, registry, curriculum, tasks, name, run, here, imported)
        _announce(opened, options)
        evaluator = _evaluator(opened, options, progress)
        _score_row_zero(opened, evaluator)
        _run_stage(opened, evaluator, [], tasks[0], options, progress, import_stage_adapter)
        return registry.run(name)


def _check_settings(curriculum: CurriculumSpec, run: Run | None) -> None:
    """Check the settings of an existing run against its own, and of a new one against its method.

    An earlier version ignored settings that the method does not read; its runs can still be resumed.
    Raises: RunConflict; SpecError.
    """
    if run is not None:
        check_same_settings(run, curriculum)
    else:
        check_settings(curriculum, METHODS.find(curriculum.method))


def _announce(opened: OpenRun, options: RunOptions) -> None:
    for line in describe_base(opened) if is_rank_0() else []:
        options.announce(line)


def _environment(workspace: Workspace, options: RunOptions) -> dict[str, Any]:
    """Join the launcher's processes, request deterministic kernels and return the environment."""
    join()
    make_deterministic()
    return environment(options.declared_in or workspace.root)


def _evaluator(opened: OpenRun, options: RunOptions, progress: Progress) -> Evaluator:
    return Evaluator(
        opened.base,
        opened.model,
        opened.method,
        opened.workspace.artifacts,
        progress,
        lambda sha256: broadcast_from_rank_0(
            partial(find_cached, opened.registry, opened.workspace.artifacts, sha256)
        ),
        options.measure_all,
        dict(opened.encodings),
    )


def _with_learning_rate(curriculum: CurriculumSpec) -> CurriculumSpec:
    """Return the curriculum with the method's default learning rate if it sets none."""
    train = curriculum.train
    lr = METHODS.find(curriculum.method).default_lr if train.lr is None else train.lr
    return curriculum.model_copy(update={"train": train.model_copy(update={"lr": lr})})


def _with_statistics(opened: OpenRun, progress: Progress) -> OpenRun:
    """Load the finished stages' router statistics if the run is scored in the view `routed`."""
    if View.ROUTED not in opened.curriculum.eval.views:
        return opened
    loaded = load_statistics(opened, opened.registry, progress)
    if loaded.records:
        _commit(opened, [], loaded.files, loaded.records)
    return replace(opened, history=loaded.history)


def _score_row_zero(opened: OpenRun, evaluator: Evaluator) -> None:
    done = {e.task for e in opened.registry.evaluations(opened.run.name) if e.stage == 0}
    missing = [eval_task for eval_task in opened.eval_tasks if eval_task.label not in done]
    if missing:
        scores = evaluator.row_zero(missing)
        _commit(opened, scores, evaluator.pop_written())


def _score_untrained_tasks(opened: OpenRun, evaluator: Evaluator) -> None:
    """Score the missing part of the upper triangle for the committed stages."""
    known = {(e.stage, e.task, e.view) for e in opened.registry.evaluations(opened.run.name)}
    views = [view for view in opened.curriculum.eval.views if view is not View.ROUTED]
    for done in range(1, len(opened.history) + 1):
        wanted = {(done, t.label, str(view)) for t in opened.eval_tasks[done:] for view in views} - known
        if wanted:
            labels = {task for _, task, _ in wanted}
            row = evaluator.row(views, opened.history[:done], opened.eval_tasks, labels)
            scores = [e for e in row if (e.stage, e.task, str(e.view)) in wanted]
            _commit(opened, scores, evaluator.pop_written())


def _commit(
    opened: OpenRun,
    scores: Sequence[Evaluation],
    files: Mapping[str, tuple[str, int]],
    statistics: Sequence[StatisticsRecord] = (),
) -> None:
    """Commit scores, files and statistics that belong to no new stage."""
    wait()  # every process must have read the registry before rank 0 writes to it
    if is_rank_0():
        opened.registry.commit_stage(opened.run.name, None, scores, files, statistics)
    wait()


def _run_stage(
    opened: OpenRun,
    evaluator: Evaluator,
    history: Sequence[FinishedStage],
    task: Task,
    options: RunOptions,
    progress: Progress,
    make_adapter: TrainStage = train_stage,
) -> FinishedStage:
    """Claim the stage's cells, train it, score it and commit it."""
    began = time.perf_counter()
    position = len(history) + 1
    title = f"stage {position}/{len(opened.eval_tasks)} {task.label}"
    if is_rank_0() and opened.curriculum.train.save_steps is not None:
        note_data(opened.workspace, opened.run.name, task, opened.training_sets[task.label])
    trained = make_adapter(StagePlan(opened, history, task, title, progress, options.callbacks))
    train_s = time.perf_counter() - began
    finished, statistics, files = _with_router_statistics(opened, trained.finished, task, position, progress)
    eval_tasks = opened.eval_tasks if options.upper_triangle else opened.eval_tasks[:position]
    scores = evaluator.row(opened.curriculum.eval.views, [*history, finished], eval_tasks)
    training_set = opened.training_sets[task.label]
    stage = Stage(
        position=position,
        task=task.label,
        artifact=finished.artifact,
        parent=history[-1].artifact if history else None,
        mask=trained.mask,
        train_digest=training_set.digest,
        n_train=len(training_set.fields),
        n_truncated=training_set.n_truncated,
        steps=trained.result.steps,
        final_loss=trained.result.loss,
        elapsed_s=time.perf_counter() - began,
        train_s=train_s,
        peak_memory_bytes=_peak_memory_bytes(),
        seeds=finished.state.seeds,
        environment=opened.environment,
    )
    files = {**files, **evaluator.pop_written(), finished.artifact: ("safetensors", trained.file_bytes)}
    made_from = stage_inputs(opened.curriculum, task)
    done = HeldBackStage(made_from, parent_stages(history), stage, scores, files, statistics)
    if is_rank_0():
        # A stage that is held back may be trained again on other data.
        clear_data_note(opened.workspace, opened.run.name)
    if options.gate is not None:
        apply_gate(opened, done, options.gate)
    commit(opened.workspace, opened.registry, opened.run.name, done)
    if is_rank_0():
        log.info(_summary(title, stage, scores, opened.registry.run(opened.run.name)))
    return finished


def _with_router_statistics(
    opened: OpenRun, finished: FinishedStage, task: Task, position: int, progress: Progress
) -> tuple[FinishedStage, Sequence[StatisticsRecord], Mapping[str, tuple[str, int]]]:
    """Add the task's router statistics to a finished stage if the run is scored in the view `routed`.

    Returns (stage, records, files).
    """
    if View.ROUTED not in opened.curriculum.eval.views:
        return finished, [], {}
    eval_task, training_set = opened.eval_tasks[position - 1], opened.training_sets[task.label]
    gathered, record, size = gather(opened, task, eval_task, training_set, progress)
    return replace(finished, gathered=gathered), [record], {gathered.artifact: ("safetensors", size)}


def _peak_memory_bytes() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _summary(title: str, stage: Stage, scores: Sequence[Evaluation], run: Run) -> str:
    own = next(e.score for e in scores if e.task == stage.task)
    claimed = ""
    if stage.mask is not None and run.projection is not None and run.free_cells is not None:
        cells = run.projection.cells(run.rank)
        claimed = f", claimed {stage.mask.cells / cells:.1%}, free {run.free_cells / cells:.1%}"
    return f"{title}: score {own:.3f}{claimed}, {stage.elapsed_s:.0f} s"
