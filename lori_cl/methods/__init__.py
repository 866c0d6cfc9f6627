"""Continual-learning methods, one in each file.

To add a method, write `lori_cl/methods/NAME.py` with a subclass of `Method` and add it to `METHODS`.
"""

from collections.abc import Mapping

from lori_cl.methods.base import Method, StageContext, StageResult, StageState, Tensors
from lori_cl.methods.lori import LoRI
from lori_cl.methods.sequential_lora import SequentialLoRA

METHODS: Mapping[str, type[Method]] = {
    "lori": LoRI,
    "sequential-lora": SequentialLoRA,
}

__all__ = ["METHODS", "Method", "StageContext", "StageResult", "StageState", "Tensors"]
