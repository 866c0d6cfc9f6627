"""Training: train each stage, score all tasks, commit."""

from lori_cl.training.gate import Gate
from lori_cl.training.import_checks import ImportedAdapter
from lori_cl.training.loaded_run import LoadedRun, load_run
from lori_cl.training.progress import Progress, SilentProgress
from lori_cl.training.sequence import RunOptions, import_adapter, run_curriculum
from lori_cl.training.task_registration import RegisteredTask, register_tasks

__all__ = [
    "Gate",
    "ImportedAdapter",
    "LoadedRun",
    "Progress",
    "RegisteredTask",
    "RunOptions",
    "SilentProgress",
    "import_adapter",
    "load_run",
    "register_tasks",
    "run_curriculum",
]
