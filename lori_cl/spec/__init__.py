"""Validated specs for tasks and curricula, and their YAML loaders."""

from lori_cl.spec.chat import ChatTaskSpec
from lori_cl.spec.curriculum import (
    AdapterSpec,
    CalibrationSpec,
    CurriculumSpec,
    EvalSpec,
    MasksSpec,
    ModelSpec,
    TrainSpec,
    View,
)
from lori_cl.spec.kinds import (
    OR_PLUGIN_SCORER,
    TASK_SPECS,
    ClassificationSpec,
    CodeSpec,
    GenerationSpec,
    GenerativeSpec,
    MultipleChoiceSpec,
    SafetySpec,
    task_from_record,
)
from lori_cl.spec.loading import load_curriculum, load_task
from lori_cl.spec.task import SkippedRows, TaskSpec

__all__ = [
    "OR_PLUGIN_SCORER",
    "TASK_SPECS",
    "AdapterSpec",
    "CalibrationSpec",
    "ChatTaskSpec",
    "ClassificationSpec",
    "CodeSpec",
    "CurriculumSpec",
    "EvalSpec",
    "GenerationSpec",
    "GenerativeSpec",
    "MasksSpec",
    "ModelSpec",
    "MultipleChoiceSpec",
    "SafetySpec",
    "SkippedRows",
    "TaskSpec",
    "TrainSpec",
    "View",
    "load_curriculum",
    "load_task",
    "task_from_record",
]
