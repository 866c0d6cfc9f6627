"""Run a curriculum: train, score and commit one stage after another.

The path of a stage: `run_stage` below, `StageTraining.train` (allocate the cells, train and freeze them),
`Evaluator.row` (score all tasks so far), `Workspace.commit_stage`.
"""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lori_cl.errors import RunConflict
from lori_cl.evaluation.cached_scores import find_cached
from lori_cl.evaluation.evaluator import Evaluator
from lori_cl.evaluation.routing_statistics import gather, load_statistics
from lori_cl.forgetting.subset import is_sampled
from lori_cl.methods import StageState
from lori_cl.registry import Evaluation, Run, ScoredStage, Stage, StatisticsRecord, Task, Workspace
from lori_cl.runtime import Progress
from lori_cl.runtime.distributed import DistributedProgress, is_rank_0, lock_run, on_rank_0
from lori_cl.runtime.environment import check_same_environment
from lori_cl.spec import CurriculumSpec, View
from lori_cl.task_data.eval_tasks import check_permissions
from lori_cl.task_data.training_sets import note_data
from lori_cl.tasks import JudgeUsage
from lori_cl.training.gate import Gate, apply_gate, check_gate, resolve_held_back
from lori_cl.training.import_checks import ImportedAdapter
from lori_cl.training.resume_checks import parent_stages, settle, stage_inputs
from lori_cl.training.run_setup import OpenRun, describe_base, open_run, set_up_process
from lori_cl.training.stage_training import StageTraining

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that are not part of its curriculum."""

    upper_triangle: bool = False
    """Also score the tasks that are not trained yet."""
    measure_all: bool = False
    """Measure every score, even if it is cached."""
    allow_code_execution: bool = False
    """Run model-written programs, contained, for tasks that are scored by running them."""
    trust_tasks: bool = False
    """Run the scorer functions of the tasks, without containment, and send answers to their judges."""
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
    check_gate(options.gate, curriculum)
    curriculum, here = set_up_process(curriculum, options.declared_in or workspace.root)
    progress = DistributedProgress(progress)
    with workspace.open() as registry, lock_run(workspace, name):
        run = registry.find_run(name)
        curriculum, tasks, also = settle(registry, curriculum, run)
        run = resolve_held_back(workspace, registry, curriculum, tasks, run, options.gate, options.accept)
        if run is not None:
            if is_complete(run, tasks, options):
                return run
            check_same_environment(run, here, change_allowed=options.allow_environment_change)
        check_permissions([*tasks, *also], options)
        opened = open_run(workspace, registry, curriculum, tasks, also, name, run, here)
        evaluator = _evaluator(opened, options, progress)
        with progress.bar(name, len(tasks)) as advance:
            score_row_zero(opened, evaluator)
            history = load_history(opened, progress)
            if options.upper_triangle:
                score_untrained_tasks(opened, history, evaluator)
            advance(len(history))
            for task in tasks[len(history) :]:
                history.append(run_stage(opened, history, task, evaluator, options, progress))
                advance(1)
        return registry.run(name)


def is_complete(run: Run, tasks: Sequence[Task], options: RunOptions) -> bool:
    """Whether nothing is left to train or to evaluate."""
    return len(run.tasks) == len(run.stages) == len(tasks) and not options.upper_triangle


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
    curriculum, here = set_up_process(curriculum, options.declared_in or workspace.root)
    progress = DistributedProgress(progress)
    with workspace.open() as registry, lock_run(workspace, name):
        run = registry.find_run(name)
        if run is not None and run.stages:
            raise RunConflict(
                f"run '{name}' already has stages; an import starts a new run: choose another --name"
            )
        curriculum, tasks, also = settle(registry, curriculum, run)
        check_permissions([*tasks, *also], options)
        opened = open_run(workspace, registry, curriculum, tasks, also, name, run, here, imported)
        evaluator = _evaluator(opened, options, progress)
        score_row_zero(opened, evaluator)
        run_stage(opened, [], tasks[0], evaluator, options, progress)
        return registry.run(name)


def run_stage(
    opened: OpenRun,
    history: Sequence[StageState],
    task: Task,
    evaluator: Evaluator,
    options: RunOptions,
    progress: Progress,
) -> StageState:
    """Train the next stage, or import its adapter; score all tasks so far, and commit.

    Raises: RegressionFound: the gate holds the stage back; LoriError. Nothing of the stage is committed then.
    """
    began = time.perf_counter()
    name, workspace, training_set = opened.run.name, opened.workspace, opened.training_sets[task.label]
    if opened.curriculum.train.save_steps is not None:
        on_rank_0(lambda: note_data(workspace, name, task, training_set))
    training = StageTraining(opened, tuple(history), task, progress, options.callbacks)
    stage, state = training.train() if opened.imported is None else training.import_adapter()
    state, statistics = _with_router_statistics(opened, state, task, progress)
    eval_tasks = opened.eval_tasks if options.upper_triangle else opened.eval_tasks[: len(history) + 1]
    asked_before = evaluator.judge_usage
    scores = evaluator.row(opened.curriculum.eval.views, [*history, state], eval_tasks)
    scores += evaluator.also_row([*history, state], opened.also)
    stage = replace(stage, elapsed_s=time.perf_counter() - began, peak_memory_bytes=_peak_memory_bytes())
    files = evaluator.pop_written()
    for artifact in (state.artifact, *(record.artifact for record in statistics)):
        files |= workspace.artifacts.entry(artifact, "safetensors")
    scored = ScoredStage(
        made_from=stage_inputs(opened.curriculum, task),
        parent_stages=parent_stages(history),
        stage=stage,
        evaluations=scores,
        files=files,
        statistics=statistics,
    )
    if options.gate is not None:
        apply_gate(opened, scored, options.gate)
    run = on_rank_0(lambda: workspace.commit_stage(opened.registry, name, scored))
    log.info(_summary(training.title, stage, scores, run))
    _log_judge_usage(evaluator.judge_usage, asked_before)
    return state


def _log_judge_usage(total: JudgeUsage, before: JudgeUsage) -> None:
    """Log what judges were asked in a stage, and since the command was started."""
    stage = total - before
    if stage.requests or stage.cached:
        log.info("judge, this stage: %s", stage.words())
        log.info("judge, since the start of this command: %s", total.words())


def score_row_zero(opened: OpenRun, evaluator: Evaluator) -> None:
    """Score the base model on the tasks that have no zero-shot score yet, and commit the scores."""
    done = {e.task for e in opened.registry.evaluations(opened.run.name) if e.stage == 0}
    scored = (*opened.eval_tasks, *opened.also)
    missing = [eval_task for eval_task in scored if eval_task.label not in done]
    if missing:
        scores = evaluator.row_zero(missing)
        _commit(opened, scores, evaluator.pop_written())


def score_untrained_tasks(opened: OpenRun, history: Sequence[StageState], evaluator: Evaluator) -> None:
    """Score the missing part of the upper triangle for the committed stages."""
    known = {(e.stage, e.task, e.view) for e in opened.registry.evaluations(opened.run.name)}
    views = [view for view in opened.curriculum.eval.views if view is not View.ROUTED]
    for done in range(1, len(history) + 1):
        wanted = {(done, t.label, str(view)) for t in opened.eval_tasks[done:] for view in views} - known
        if wanted:
            labels = {task for _, task, _ in wanted}
            row = evaluator.row(views, history[:done], opened.eval_tasks, labels)
            scores = [e for e in row if (e.stage, e.task, str(e.view)) in wanted]
            _commit(opened, scores, evaluator.pop_written())


def load_history(opened: OpenRun, progress: Progress) -> list[StageState]:
    """Return the finished stages, with their router statistics if the run is scored in the view `routed`."""
    if View.ROUTED not in opened.curriculum.eval.views:
        return list(opened.history)
    loaded = load_statistics(opened, opened.registry, progress)
    if loaded.records:
        _commit(opened, [], loaded.files, loaded.records)
    return list(loaded.history)


def _evaluator(opened: OpenRun, options: RunOptions, progress: Progress) -> Evaluator:
    """Announce which parts of the base model are adapted, and return the run's evaluator."""
    if is_rank_0():
        for line in describe_base(opened):
            options.announce(line)
    artifacts = opened.workspace.artifacts
    return Evaluator(
        opened.base,
        opened.model,
        opened.method,
        artifacts,
        progress,
        lambda sha256: on_rank_0(lambda: find_cached(opened.registry, artifacts, sha256)),
        options.measure_all,
        sampling(opened.curriculum, options, len(opened.eval_tasks)),
        {
            (task.label, len(task.examples)): opened.encodings[task.label]
            for task in (*opened.eval_tasks, *opened.also)
        },
    )


def sampling(curriculum: CurriculumSpec, options: RunOptions, last: int) -> Callable[[str, int, int], bool]:
    """Return the rule by which `eval.sample` applies to a view, a stage and a task's own stage.

    `last` is the run's last stage.
    """
    # The gate's paired test needs the same examples in every stage.
    gated = None if options.gate is None else options.gate.view
    in_use = curriculum.eval.sample is not None
    return lambda view, stage, own: in_use and view != gated and is_sampled(view, stage, own, last)


def _with_router_statistics(
    opened: OpenRun, state: StageState, task: Task, progress: Progress
) -> tuple[StageState, Sequence[StatisticsRecord]]:
    """Add the task's router statistics to a finished stage if the run is scored in the view `routed`."""
    if View.ROUTED not in opened.curriculum.eval.views:
        return state, []
    eval_task = next(each for each in opened.eval_tasks if each.label == task.label)
    gathered, record = gather(opened, task, eval_task, opened.training_sets[task.label], progress)
    return replace(state, router=gathered), [record]


def _commit(
    opened: OpenRun,
    scores: Sequence[Evaluation],
    files: Mapping[str, tuple[str, int]],
    statistics: Sequence[StatisticsRecord] = (),
) -> None:
    """Commit scores, files and statistics that belong to no new stage."""
    on_rank_0(lambda: opened.registry.commit_stage(opened.run.name, None, scores, files, statistics))


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
