"""The sequence: stage after stage until the curriculum is learned."""

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
from lori_cl.methods import METHODS
from lori_cl.registry import Evaluation, Run, SetAside, Stage, StatisticsRecord, Task, Workspace
from lori_cl.spec import CurriculumSpec, View
from lori_cl.training.cached_scores import find_cached
from lori_cl.training.committing import commit
from lori_cl.training.continuing import check_same_settings, pinned_tasks
from lori_cl.training.determinism import make_deterministic
from lori_cl.training.environment import check_same_environment, environment
from lori_cl.training.examiner import Examiner
from lori_cl.training.gate import Gate, admit, check_gate, declared, settle
from lori_cl.training.gathering import gather, recall
from lori_cl.training.imported import Imported
from lori_cl.training.launch import Together, first_says, hold, is_writer, join, wait
from lori_cl.training.learning import StageAhead, StageMade, learn, stood_on, take_over
from lori_cl.training.observer import Observer
from lori_cl.training.opening import OpenRun, describe_base, open_run
from lori_cl.training.preparation import check_code_execution
from lori_cl.training.stage_file import StageMemory
from lori_cl.training.training_data import clear_data_note, note_data

log = logging.getLogger(__name__)

Learn = Callable[[StageAhead], StageMade]
"""What makes a stage's adapter: training it, or taking it over."""


@dataclass(frozen=True)
class RunOptions:
    """What of a run is no part of its curriculum."""

    upper_triangle: bool = False
    """Score the tasks still to come as well."""
    measure_all: bool = False
    """Measure also what could be proved."""
    allow_code_execution: bool = False
    """Run the programs that the model writes, contained, where a task is scored by that."""
    gate: Gate | None = None
    """Set a stage aside that costs an earlier task too much."""
    accept: str | None = None
    """Take the stage of this task, by label or name, that was set aside; it may be taken already."""
    allow_environment_change: bool = False
    """Go on with a run although something that can change results is not what its newest stage had."""
    declared_in: Path | None = None
    """The curriculum file's folder, whose git revision is recorded; None means the workspace."""
    announce: Callable[[str], None] = log.info
    """Called with each line that says, before anything is trained, what of the base model is adapted."""


def run_curriculum(
    workspace: Workspace, curriculum: CurriculumSpec, name: str, options: RunOptions, observer: Observer
) -> Run:
    """Train and score every stage of the curriculum that is not committed yet.

    What is wrong with the input is found before the first step, and before anything is stored.
    Raises: InputError; RunConflict, if another process is at it; LoriError, if a stage fails; what was
    committed stays.
    """
    curriculum = _with_learning_rate(curriculum)
    check_gate(options.gate, curriculum)
    here = _environment(workspace, options)
    observer = Together(observer)
    with workspace.open() as registry, hold(workspace, name):
        run = registry.find_run(name)
        tasks = pinned_tasks(registry, curriculum, run)
        if run is not None:
            check_same_settings(run, curriculum)
        run = settle(workspace, registry, curriculum, tasks, run, options.gate, options.accept)
        if run is not None:
            whole = len(run.tasks) == len(run.stages) == len(tasks)
            if whole and not options.upper_triangle:
                return run
            check_same_environment(run, here, change_allowed=options.allow_environment_change)
        check_code_execution(tasks, options.allow_code_execution)
        opened = open_run(workspace, registry, curriculum, tasks, name, run, here)
        _announce(opened, options)
        examiner = _examiner(opened, options, observer)
        with observer.bar(name, len(tasks)) as advance:
            _score_row_zero(opened, examiner)
            opened = _with_statistics(opened, observer)
            if options.upper_triangle:
                _score_tasks_to_come(opened, examiner)
            history = list(opened.history)
            advance(len(history))
            for task in tasks[len(history) :]:
                history.append(_run_stage(opened, examiner, history, task, options, observer))
                advance(1)
        return registry.run(name)


def import_adapter(
    workspace: Workspace,
    curriculum: CurriculumSpec,
    name: str,
    imported: Imported,
    options: RunOptions,
    observer: Observer,
) -> Run:
    """Begin the run of a curriculum with a ready adapter for its first task; `run_curriculum` goes on.

    What is wrong with the adapter or the curriculum is found before anything is stored. An import that broke
    off goes on.
    Raises: InputError; RunConflict, if the run has learned something already, or another process is at it;
    LoriError.
    """
    curriculum = _with_learning_rate(curriculum)
    here = _environment(workspace, options)
    observer = Together(observer)
    with workspace.open() as registry, hold(workspace, name):
        run = registry.find_run(name)
        if run is not None and run.stages:
            raise RunConflict(f"run '{name}' is there already; an import begins one: choose another --name")
        tasks = pinned_tasks(registry, curriculum, run)
        if run is not None:
            check_same_settings(run, curriculum)
        check_code_execution(tasks, options.allow_code_execution)
        opened = open_run(workspace, registry, curriculum, tasks, name, run, here, imported)
        _announce(opened, options)
        examiner = _examiner(opened, options, observer)
        _score_row_zero(opened, examiner)
        _run_stage(opened, examiner, [], tasks[0], options, observer, take_over)
        return registry.run(name)


def _announce(opened: OpenRun, options: RunOptions) -> None:
    for line in describe_base(opened) if is_writer() else []:
        options.announce(line)


def _environment(workspace: Workspace, options: RunOptions) -> dict[str, Any]:
    """Join the launcher's other processes, ask for deterministic kernels, and see what there is."""
    join()
    make_deterministic()
    return environment(options.declared_in or workspace.root)


def _examiner(opened: OpenRun, options: RunOptions, observer: Observer) -> Examiner:
    return Examiner(
        opened.base,
        opened.model,
        opened.method,
        opened.workspace.artifacts,
        observer,
        lambda sha256: first_says(partial(find_cached, opened.registry, opened.workspace.artifacts, sha256)),
        options.measure_all,
        dict(opened.encodings),
    )


def _with_learning_rate(curriculum: CurriculumSpec) -> CurriculumSpec:
    """The curriculum as it runs: the method's own learning rate where it names none."""
    train = curriculum.train
    lr = METHODS[curriculum.method].default_lr if train.lr is None else train.lr
    return curriculum.model_copy(update={"train": train.model_copy(update={"lr": lr})})


def _with_statistics(opened: OpenRun, observer: Observer) -> OpenRun:
    """The run with its finished stages' statistics, where it is scored under `routed`."""
    if View.ROUTED not in opened.curriculum.eval.views:
        return opened
    recalled = recall(opened, opened.registry, observer)
    if recalled.records:
        _commit(opened, [], recalled.files, recalled.records)
    return replace(opened, history=recalled.history)


def _score_row_zero(opened: OpenRun, examiner: Examiner) -> None:
    done = {e.task for e in opened.registry.evaluations(opened.run.name) if e.stage == 0}
    missing = [question for question in opened.questions if question.label not in done]
    if missing:
        scores = examiner.row_zero(missing)
        _commit(opened, scores, examiner.take_written())


def _score_tasks_to_come(opened: OpenRun, examiner: Examiner) -> None:
    """What of the upper triangle the committed stages have not been asked yet."""
    known = {(e.stage, e.task, e.view) for e in opened.registry.evaluations(opened.run.name)}
    views = [view for view in opened.curriculum.eval.views if view is not View.ROUTED]
    for done in range(1, len(opened.history) + 1):
        wanted = {(done, q.label, str(view)) for q in opened.questions[done:] for view in views} - known
        if wanted:
            labels = {task for _, task, _ in wanted}
            row = examiner.row(views, opened.history[:done], opened.questions, labels)
            scores = [e for e in row if (e.stage, e.task, str(e.view)) in wanted]
            _commit(opened, scores, examiner.take_written())


def _commit(
    opened: OpenRun,
    scores: Sequence[Evaluation],
    files: Mapping[str, tuple[str, int]],
    statistics: Sequence[StatisticsRecord] = (),
) -> None:
    """Commit what belongs to no new stage."""
    wait()  # every process has read what is there before the writer adds to it
    if is_writer():
        opened.registry.commit_stage(opened.run.name, None, scores, files, statistics)
    wait()


def _run_stage(
    opened: OpenRun,
    examiner: Examiner,
    history: Sequence[StageMemory],
    task: Task,
    options: RunOptions,
    observer: Observer,
    make: Learn = learn,
) -> StageMemory:
    """Claim, train, score, commit."""
    began = time.perf_counter()
    position = len(history) + 1
    title = f"stage {position}/{len(opened.questions)} {task.label}"
    if is_writer() and opened.curriculum.train.save_steps is not None:
        note_data(opened.workspace, opened.run.name, task, opened.training_sets[task.label])
    learned = make(StageAhead(opened, history, task, title, observer))
    train_s = time.perf_counter() - began
    memory, statistics, files = _told_apart(opened, learned.memory, task, position, observer)
    questions = opened.questions if options.upper_triangle else opened.questions[:position]
    scores = examiner.row(opened.curriculum.eval.views, [*history, memory], questions)
    training_set = opened.training_sets[task.label]
    stage = Stage(
        position=position,
        task=task.label,
        artifact=memory.artifact,
        parent=history[-1].artifact if history else None,
        mask=learned.mask,
        train_digest=training_set.digest,
        n_train=len(training_set.fields),
        n_truncated=training_set.n_truncated,
        steps=learned.taught.steps,
        final_loss=learned.taught.loss,
        elapsed_s=time.perf_counter() - began,
        train_s=train_s,
        peak_memory_bytes=_peak_memory_bytes(),
        seeds=memory.learned.seeds,
        environment=opened.environment,
    )
    files = {**files, **examiner.take_written(), memory.artifact: ("safetensors", learned.file_bytes)}
    made_from = declared(opened.curriculum, task)
    done = SetAside(made_from, stood_on(history), stage, scores, files, statistics)
    if is_writer():
        clear_data_note(
            opened.workspace, opened.run.name
        )  # a stage that is held back may be trained on other data
    if options.gate is not None:
        admit(opened, done, options.gate)
    commit(opened.workspace, opened.registry, opened.run.name, done)
    if is_writer():
        log.info(_summary(title, stage, scores, opened.registry.run(opened.run.name)))
    return memory


def _told_apart(
    opened: OpenRun, memory: StageMemory, task: Task, position: int, observer: Observer
) -> tuple[StageMemory, Sequence[StatisticsRecord], Mapping[str, tuple[str, int]]]:
    """A stage's memory with its task's statistics, where the run is scored under `routed`; their records and
    files."""
    if View.ROUTED not in opened.curriculum.eval.views:
        return memory, [], {}
    question, taught = opened.questions[position - 1], opened.training_sets[task.label]
    gathered, record, size = gather(opened, task, question, taught, observer)
    return replace(memory, gathered=gathered), [record], {gathered.artifact: ("safetensors", size)}


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
