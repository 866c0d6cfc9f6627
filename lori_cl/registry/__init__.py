"""Everything but tensors and text: tasks, eval sets, runs, stages, masks, scores; and the artifact files."""

from lori_cl.registry.artifacts import ArtifactStore, write_durably
from lori_cl.registry.aside import SetAside
from lori_cl.registry.flat import flat
from lori_cl.registry.leftovers import Leftover, leftovers, undecided
from lori_cl.registry.records import (
    Declaration,
    EvalSet,
    Evaluation,
    MaskRecord,
    Projection,
    Run,
    RunStart,
    RunSummary,
    Stage,
    StatisticsRecord,
    Task,
)
from lori_cl.registry.registry import Registry
from lori_cl.registry.retirement import acts_after, still_kept
from lori_cl.registry.workspace import Workspace

__all__ = [
    "ArtifactStore",
    "Declaration",
    "EvalSet",
    "Evaluation",
    "Leftover",
    "MaskRecord",
    "Projection",
    "Registry",
    "Run",
    "RunStart",
    "RunSummary",
    "SetAside",
    "Stage",
    "StatisticsRecord",
    "Task",
    "Workspace",
    "acts_after",
    "flat",
    "leftovers",
    "still_kept",
    "undecided",
    "write_durably",
]
