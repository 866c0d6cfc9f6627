"""What a user writes, validated: tasks, curricula, and how they are read from YAML."""

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
from lori_cl.spec.loading import load_curriculum, load_task
from lori_cl.spec.task import (
    TASK_SPECS,
    ClassificationSpec,
    GenerationSpec,
    MultipleChoiceSpec,
    TaskSpec,
    task_from_record,
)

__all__ = [
    "TASK_SPECS",
    "AdapterSpec",
    "CalibrationSpec",
    "ClassificationSpec",
    "CurriculumSpec",
    "EvalSpec",
    "GenerationSpec",
    "MasksSpec",
    "ModelSpec",
    "MultipleChoiceSpec",
    "TaskSpec",
    "TrainSpec",
    "View",
    "load_curriculum",
    "load_task",
    "task_from_record",
]
