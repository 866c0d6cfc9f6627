"""Continual-learning methods, one a file.

To add a method to the package, write `lori_cl/methods/NAME.py` with a subclass of `Method`, and add it to
`METHODS`. An installed package adds one by an entry point in the group `lori_cl.methods`.
"""

from lori_cl.methods.base import Method
from lori_cl.methods.lori import LoRI
from lori_cl.methods.masked import MaskedMethod
from lori_cl.methods.sequential_lora import SequentialLoRA
from lori_cl.methods.settings import check_settings
from lori_cl.methods.stages import Fields, StageContext, StageResult, StageSize, StageState, Tensors
from lori_cl.plugins import Implementations

METHODS = Implementations[type[Method]](
    "lori_cl.methods", {"lori": LoRI, "sequential-lora": SequentialLoRA}, Method, are_classes=True
)

__all__ = [
    "METHODS",
    "Fields",
    "MaskedMethod",
    "Method",
    "StageContext",
    "StageResult",
    "StageSize",
    "StageState",
    "Tensors",
    "check_settings",
]
