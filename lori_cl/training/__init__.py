"""Training: train each stage, score all tasks, commit. Start reading in `loop.py`."""

from lori_cl.training.gate import Gate
from lori_cl.training.import_checks import ImportedAdapter
from lori_cl.training.loop import RunOptions, import_adapter, run_curriculum
from lori_cl.training.run_plan import RunPlan, plan_curriculum

__all__ = [
    "Gate",
    "ImportedAdapter",
    "RunOptions",
    "RunPlan",
    "import_adapter",
    "plan_curriculum",
    "run_curriculum",
]
