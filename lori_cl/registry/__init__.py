"""The registry (tasks, eval sets, runs, stages, masks, scores) and the store of artifact files."""

from lori_cl.registry.artifacts import ArtifactStore, write_durably
from lori_cl.registry.flat import flatten
from lori_cl.registry.garbage import GarbageFile, find_garbage, undecided_reason
from lori_cl.registry.records import (
    Declaration,
    EvalSet,
    Evaluation,
    MaskRecord,
    Projection,
    Run,
    RunStart,
    RunSummary,
    ScoreTime,
    Stage,
    StageTime,
    StatisticsRecord,
    Task,
)
from lori_cl.registry.registry import Registry
from lori_cl.registry.retirement import is_active_after, protected_stages
from lori_cl.registry.run_deletion import RunDeletion, delete_run
from lori_cl.registry.scored_stage import ScoredStage
from lori_cl.registry.workspace import Workspace

__all__ = [
    "ArtifactStore",
    "Declaration",
    "EvalSet",
    "Evaluation",
    "GarbageFile",
    "MaskRecord",
    "Projection",
    "Registry",
    "Run",
    "RunDeletion",
    "RunStart",
    "RunSummary",
    "ScoreTime",
    "ScoredStage",
    "Stage",
    "StageTime",
    "StatisticsRecord",
    "Task",
    "Workspace",
    "delete_run",
    "find_garbage",
    "flatten",
    "is_active_after",
    "protected_stages",
    "undecided_reason",
    "write_durably",
]
