"""Router statistics of a run's tasks: gather them from training texts, store them and load them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from safetensors import numpy as safetensors_numpy

from lori_cl.adapters import METADATA_KEY
from lori_cl.digest import canonical_json, derive_seed
from lori_cl.errors import ArtifactMissing, DataError
from lori_cl.evaluation.loaded_run import LoadedRun
from lori_cl.evaluation.routing_features import read_features
from lori_cl.evaluation.stage_file import read_tensors
from lori_cl.methods import StageState
from lori_cl.registry import Registry, StatisticsRecord, Task
from lori_cl.routing import StoredStatistics, TaskStatistics
from lori_cl.runtime import Progress
from lori_cl.runtime.distributed import on_rank_0
from lori_cl.task_data.eval_tasks import EvalTask
from lori_cl.task_data.training_sets import TrainingSet, prepare_training
from lori_cl.tasks import random_subset

log = logging.getLogger(__name__)

EXAMPLES = 2_000
"""Maximum number of training examples for a task's statistics: a mean is then known to a fiftieth of the
spread, and more examples would cost time at every stage."""


@dataclass(frozen=True)
class LoadedStatistics:
    """The finished stages of a run with their statistics, and the statistics that are not registered yet."""

    history: Sequence[StageState]
    records: Sequence[StatisticsRecord]
    files: Mapping[str, tuple[str, int]]
    """(suffix, bytes) by digest."""


def gather(
    opened: LoadedRun, task: Task, eval_task: EvalTask, training_set: TrainingSet, progress: Progress
) -> tuple[StoredStatistics, StatisticsRecord]:
    """Compute and store a task's statistics over its training texts; return (statistics, record)."""
    seed = derive_seed(opened.curriculum.seed, task.label, task.seed, "routing")
    examples = random_subset(training_set.examples, EXAMPLES, seed)
    features = read_features(opened.base, opened.model, eval_task, examples, progress)
    statistics = TaskStatistics.of(features)
    metadata = {"task": task.label, "train": training_set.digest, "base": opened.base.digest}
    content = safetensors_numpy.save(statistics.to_arrays(), {METADATA_KEY: canonical_json(metadata)})
    artifact = opened.workspace.artifacts.put(content, "safetensors")
    record = StatisticsRecord(task.label, artifact, statistics.n)
    return StoredStatistics(statistics, artifact), record


def load_statistics(opened: LoadedRun, registry: Registry, progress: Progress) -> LoadedStatistics:
    """Return the run's finished stages with their statistics; missing statistics are gathered now.

    A task retired before the last stage is not routed to and needs no statistics.
    Raises: ArtifactMissing; ArtifactDamaged; DataError, if a task's source gives other training examples
    than the run was trained on.
    """
    known = {record.task: record.artifact for record in registry.statistics(opened.run.name)}
    history, records = [], []
    files: dict[str, tuple[str, int]] = {}
    for state, eval_task in zip(opened.history, opened.eval_tasks, strict=False):  # some are untrained
        if not state.is_active_after(len(opened.history)):
            history.append(state)
            continue
        if eval_task.label in known:
            gathered = _read_or_restore(opened, known[eval_task.label], eval_task, progress)
        else:
            gathered, record = _gather_again(opened, eval_task, progress)
            records.append(record)
            files |= opened.workspace.artifacts.entry(gathered.artifact, "safetensors")
        history.append(replace(state, router=gathered))
    return LoadedStatistics(history, records, files)


def _read_or_restore(
    opened: LoadedRun, artifact: str, eval_task: EvalTask, progress: Progress
) -> StoredStatistics:
    """Read registered statistics from their file; gather them again if the file is missing.

    Raises: ArtifactMissing, if the new statistics differ from the registered ones; ArtifactDamaged;
    DataError, see `load_statistics`.
    """
    missing = on_rank_0(partial(_missing, opened, artifact))  # all processes must agree
    if missing is None:
        return read_gathered(opened, artifact)
    log.warning("the statistics of %s are gathered again: %s", eval_task.label, missing)
    gathered, _ = _gather_again(opened, eval_task, progress)
    if gathered.artifact != artifact:
        raise missing
    return gathered


def _missing(opened: LoadedRun, artifact: str) -> ArtifactMissing | None:
    """Return the error for a missing statistics file; None if the file exists, damaged or not."""
    path = opened.workspace.artifacts.path(artifact, "safetensors")
    return None if path.exists() else ArtifactMissing(f"{path} is missing")


def read_gathered(opened: LoadedRun, artifact: str) -> StoredStatistics:
    """Read statistics from their file.

    Raises: ArtifactMissing; ArtifactDamaged.
    """
    content = opened.workspace.artifacts.get(artifact, "safetensors")
    tensors = read_tensors(content, "a task's statistics")
    arrays = {name: t.numpy() for name, t in tensors.items() if t.dtype in (torch.float64, torch.int64)}
    return StoredStatistics(TaskStatistics.from_arrays(arrays), artifact)


def _gather_again(
    opened: LoadedRun, eval_task: EvalTask, progress: Progress
) -> tuple[StoredStatistics, StatisticsRecord]:
    task = next(task for task in opened.run.tasks if task.label == eval_task.label)
    stage = next(stage for stage in opened.run.stages if stage.task == eval_task.label)
    training_set = prepare_training(opened.workspace, task, opened.curriculum, opened.base)
    if training_set.digest != stage.train_digest:
        raise DataError(
            f"task '{task.label}' was trained on examples of digest {stage.train_digest[:16]}…, "
            f"but its source now gives {training_set.digest[:16]}…, so its router statistics cannot be "
            "gathered; restore the source"
        )
    return gather(opened, task, eval_task, training_set, progress)
