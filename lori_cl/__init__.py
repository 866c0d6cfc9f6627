"""lori_cl: fine-tune one frozen transformer on a sequence of tasks, and measure what it forgets.

The public names are imported on first use, so that `import lori_cl` imports no torch:

    import lori_cl as cl

    ws = cl.Workspace("work")
    ws.add_task("tasks/sst2.yaml")
    run = ws.run(cl.Curriculum(model="org/model", tasks=["sst2"], method=cl.LoRI(rank=32)), name="weekly")
    run.matrix("current").to_pandas()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lori_cl.api.curriculum import Curriculum
    from lori_cl.api.matrix import Matrix, Metrics
    from lori_cl.api.own_loop import LoRIModel, get_lori_model, load_lori_model
    from lori_cl.api.run import Run
    from lori_cl.api.workspace import Workspace
    from lori_cl.errors import LoriError
    from lori_cl.spec.curriculum import CalibrationSpec as Calibration
    from lori_cl.spec.curriculum import EvalSpec as Eval
    from lori_cl.spec.curriculum import NullSpaceSpec as NullSpace
    from lori_cl.spec.curriculum import TrainSpec as Train
    from lori_cl.spec.in_memory import Classification, Code, Generation, MultipleChoice, Safety
    from lori_cl.spec.method_settings import LoRI, SequentialLoRA
    from lori_cl.training.gate import Gate

    __version__: str

_PUBLIC = {
    "Calibration": ("lori_cl.spec.curriculum", "CalibrationSpec"),
    "Classification": ("lori_cl.spec.in_memory", "Classification"),
    "Code": ("lori_cl.spec.in_memory", "Code"),
    "Curriculum": ("lori_cl.api.curriculum", "Curriculum"),
    "Eval": ("lori_cl.spec.curriculum", "EvalSpec"),
    "Gate": ("lori_cl.training.gate", "Gate"),
    "Generation": ("lori_cl.spec.in_memory", "Generation"),
    "LoRI": ("lori_cl.spec.method_settings", "LoRI"),
    "LoRIModel": ("lori_cl.api.own_loop", "LoRIModel"),
    "LoriError": ("lori_cl.errors", "LoriError"),
    "Matrix": ("lori_cl.api.matrix", "Matrix"),
    "Metrics": ("lori_cl.api.matrix", "Metrics"),
    "MultipleChoice": ("lori_cl.spec.in_memory", "MultipleChoice"),
    "NullSpace": ("lori_cl.spec.curriculum", "NullSpaceSpec"),
    "Run": ("lori_cl.api.run", "Run"),
    "Safety": ("lori_cl.spec.in_memory", "Safety"),
    "SequentialLoRA": ("lori_cl.spec.method_settings", "SequentialLoRA"),
    "Train": ("lori_cl.spec.curriculum", "TrainSpec"),
    "Workspace": ("lori_cl.api.workspace", "Workspace"),
    "get_lori_model": ("lori_cl.api.own_loop", "get_lori_model"),
    "load_lori_model": ("lori_cl.api.own_loop", "load_lori_model"),
}
"""Each public name's module, and its name there."""

__all__ = [
    "Calibration",
    "Classification",
    "Code",
    "Curriculum",
    "Eval",
    "Gate",
    "Generation",
    "LoRI",
    "LoRIModel",
    "LoriError",
    "Matrix",
    "Metrics",
    "MultipleChoice",
    "NullSpace",
    "Run",
    "Safety",
    "SequentialLoRA",
    "Train",
    "Workspace",
    "get_lori_model",
    "load_lori_model",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name == "__version__":
        from importlib.metadata import version  # takes longer to import than all else here

        value: Any = version("lori-cl")
    elif name in _PUBLIC:
        module, attribute = _PUBLIC[name]
        value = getattr(import_module(module), attribute)
    else:
        raise AttributeError(f"module 'lori_cl' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, also those that are not imported yet."""
    return sorted([*globals(), *_PUBLIC, "__version__"])
