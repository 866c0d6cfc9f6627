"""What a run can tell its tasks' texts by: gathered from training texts, kept as statistics, read back."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from safetensors import numpy as safetensors_numpy

from lori_cl.adapters import METADATA_KEY
from lori_cl.digest import canonical_json
from lori_cl.errors import ArtifactMissing, DataError
from lori_cl.registry import Registry, StatisticsRecord, Task
from lori_cl.routing import TaskStatistics
from lori_cl.tasks import drawn
from lori_cl.training.determinism import derive_seed
from lori_cl.training.evaluate import Question
from lori_cl.training.features import read_features
from lori_cl.training.launch import first_says
from lori_cl.training.loading import LoadedRun
from lori_cl.training.observer import Observer
from lori_cl.training.preparation import TrainingSet, prepare_training
from lori_cl.training.stage_file import Gathered, StageMemory, read_tensors

log = logging.getLogger(__name__)

EXAMPLES = 2_000
"""Training examples that a task's statistics are taken over at most: a mean is then known to a fiftieth of
the spread, and more would cost time at every stage."""


@dataclass(frozen=True)
class Recalled:
    """The finished stages of a run with their statistics, and what of them is still to be registered."""

    history: Sequence[StageMemory]
    records: Sequence[StatisticsRecord]
    files: Mapping[str, tuple[str, int]]
    """(suffix, bytes) by digest."""


def gather(
    opened: LoadedRun, task: Task, question: Question, taught: TrainingSet, observer: Observer
) -> tuple[Gathered, StatisticsRecord, int]:
    """A task's statistics over its training texts, written to a file: (them, their record, its bytes)."""
    seed = derive_seed(opened.curriculum.seed, task.label, task.seed, "routing")
    examples = drawn(taught.examples, EXAMPLES, seed)
    features = read_features(opened.base, opened.model, question, examples, observer)
    statistics = TaskStatistics.of(features)
    metadata = {"task": task.label, "train": taught.digest, "base": opened.base.digest}
    content = safetensors_numpy.save(statistics.to_arrays(), {METADATA_KEY: canonical_json(metadata)})
    artifact = opened.workspace.artifacts.put(content, "safetensors")
    record = StatisticsRecord(task.label, artifact, statistics.n)
    return Gathered(statistics, artifact), record, len(content)


def recall(opened: LoadedRun, registry: Registry, observer: Observer) -> Recalled:
    """The run's finished stages with their statistics; those never gathered are gathered now.

    A task that was retired before the last stage is no longer guessed, and needs none.
    Raises: ArtifactMissing; ArtifactDamaged; DataError, if a task's source gives other training examples
    than the run learned from.
    """
    known = {of.task: of.artifact for of in registry.statistics(opened.run.name)}
    history, records, files = [], [], {}
    for memory, question in zip(opened.history, opened.questions, strict=False):  # or still to come
        if not memory.learned.acts_after(len(opened.history)):
            history.append(memory)
            continue
        if question.label in known:
            gathered = _read_or_restore(opened, known[question.label], question, observer)
        else:
            gathered, record, size = _gather_again(opened, question, observer)
            records.append(record)
            files[gathered.artifact] = ("safetensors", size)
        history.append(replace(memory, gathered=gathered))
    return Recalled(history, records, files)


def _read_or_restore(opened: LoadedRun, artifact: str, question: Question, observer: Observer) -> Gathered:
    """Registered statistics from their file; where that is gone, gathered again.

    Raises: ArtifactMissing, if what is gathered now is not what was registered; ArtifactDamaged; DataError,
    as `recall` says.
    """
    lost = first_says(partial(_lost, opened, artifact))  # all processes gather, or none
    if lost is None:
        return read_gathered(opened, artifact)
    log.warning("the statistics of %s are gathered again: %s", question.label, lost)
    gathered, _, _ = _gather_again(opened, question, observer)
    if gathered.artifact != artifact:
        raise lost
    return gathered


def _lost(opened: LoadedRun, artifact: str) -> ArtifactMissing | None:
    """The error of a file of statistics that is gone; None where there is one, damaged or not."""
    path = opened.workspace.artifacts.path(artifact, "safetensors")
    return None if path.exists() else ArtifactMissing(f"{path} is not there")


def read_gathered(opened: LoadedRun, artifact: str) -> Gathered:
    """Statistics from their file.

    Raises: ArtifactMissing; ArtifactDamaged.
    """
    content = opened.workspace.artifacts.get(artifact, "safetensors")
    tensors = read_tensors(content, "a task's statistics")
    arrays = {name: t.numpy() for name, t in tensors.items() if t.dtype in (torch.float64, torch.int64)}
    return Gathered(TaskStatistics.from_arrays(arrays), artifact)


def _gather_again(
    opened: LoadedRun, question: Question, observer: Observer
) -> tuple[Gathered, StatisticsRecord, int]:
    task = next(task for task in opened.run.tasks if task.label == question.label)
    stage = next(stage for stage in opened.run.stages if stage.task == question.label)
    taught = prepare_training(opened.workspace, task, opened.curriculum, opened.base)
    if taught.digest != stage.train_digest:
        raise DataError(
            f"task '{task.label}' was learned from training examples of digest {stage.train_digest[:16]}…, "
            f"and its source gives {taught.digest[:16]}… now, so its texts can no longer be told from "
            "others'; restore the source as it was"
        )
    return gather(opened, task, question, taught, observer)
