"""The input of the checks: the registry's records of a run, and the files that they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from lori_cl.evaluation.stage_file import read_metadata, read_stage
from lori_cl.methods import StageState
from lori_cl.registry import ArtifactStore, Evaluation, Registry, Run, Stage, StatisticsRecord, Workspace
from lori_cl.registry.artifacts import Suffix
from lori_cl.spec import CurriculumSpec
from lori_cl.tasks import Example, from_jsonl


@dataclass(frozen=True)
class Evidence:
    """The records and files of one run, at the time of reading."""

    registry: Registry
    artifacts: ArtifactStore
    run: Run
    evaluations: Sequence[Evaluation]
    """The scores of the stages and tasks of the run."""
    statistics: Sequence[StatisticsRecord]
    score_log: Sequence[Evaluation]
    """All scores in the order of their commits, without outcomes."""

    @classmethod
    def of(cls, workspace: Workspace, registry: Registry, name: str) -> Self:
        """Read the records of a run.

        Raises: UnknownRun.
        """
        run = registry.run(name)
        tasks, stages = {task.label for task in run.scored_tasks}, len(run.stages)
        # A run in progress may commit a stage after the run was read and before its scores are. Base model
        # scores of tasks that were planned and later replaced stay in the registry.
        evaluations = [e for e in registry.evaluations(name) if e.stage <= stages and e.task in tasks]
        statistics, log = registry.statistics(name), registry.score_log(name)
        return cls(registry, workspace.artifacts, run, evaluations, statistics, log)

    @cached_property
    def curriculum(self) -> CurriculumSpec:
        """The run's curriculum, with defaults for fields that are newer than the run."""
        return CurriculumSpec.model_validate(dict(self.run.curriculum))

    @cached_property
    def metadata(self) -> Sequence[Mapping[str, Any]]:
        """The metadata of each stage's file."""
        return [self.metadata_of(stage.artifact) for stage in self.run.stages]

    @cached_property
    def states(self) -> Sequence[StageState]:
        """Every finished stage, read from its file."""
        read = ((s, read_stage(self.artifacts.get(s.artifact, "safetensors"))) for s in self.run.stages)
        return [
            StageState(stage.task, tensors, stage.seeds, stage.retired_after) for stage, (tensors, _) in read
        ]

    @cached_property
    def eval_sets(self) -> Mapping[str, Sequence[Example]]:
        """Each task's eval set, by its label."""
        return {
            task.label: from_jsonl(self.artifacts.get(task.eval_set.digest, "jsonl"))
            for task in self.run.scored_tasks
        }

    @property
    def named(self) -> Mapping[tuple[str, Suffix], str]:
        """Every file that a record of the run names, by digest and suffix, with the name of the record."""
        named: dict[tuple[str, Suffix], str] = {}
        for stage in self.run.stages:
            named.setdefault((stage.artifact, "safetensors"), self.at(stage.position))
        for position, task in enumerate(self.run.tasks, start=1):
            named.setdefault((task.eval_set.digest, "jsonl"), f"stage {position} {task.label}, its eval set")
        for task in self.run.also:
            named.setdefault((task.eval_set.digest, "jsonl"), f"task {task.label}, its eval set")
        for score in self.evaluations:
            record = f"{self.at(score.stage)}, answers of {score.task} under {score.view}"
            named.setdefault((score.answers, "jsonl"), record)
        for kept in self.statistics:
            named.setdefault((kept.artifact, "safetensors"), f"{self.at_task(kept.task)}, its statistics")
        return named

    def at(self, position: int) -> str:
        """Return the name of a stage: 'stage 2 agnews', or 'stage 0, the base model'."""
        return (
            f"stage {position} {self.run.stages[position - 1].task}"
            if position
            else "stage 0, the base model"
        )

    def at_task(self, label: str) -> str:
        """Return the name of the stage that trained a task, or of the task if there is no such stage."""
        return next((self.at(s.position) for s in self.run.stages if s.task == label), f"task {label}")

    def file_of(self, stage: Stage) -> Path:
        """Return the path of a stage's file."""
        return self.artifacts.path(stage.artifact, "safetensors")

    def metadata_of(self, sha256: str) -> Mapping[str, Any]:
        """Read the metadata of a file, without its tensors."""
        with self.artifacts.path(sha256, "safetensors").open("rb") as file:
            length = file.read(8)
            return read_metadata(length + file.read(int.from_bytes(length, "little")))
