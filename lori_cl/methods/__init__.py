"""Continual-learning methods, one a file.

To add one: write `lori_cl/methods/NAME.py` with a subclass of `Method`, and name it here.
"""

from collections.abc import Mapping

from lori_cl.methods.base import Learned, Method, Outcome, StageContext, Tensors
from lori_cl.methods.lori import LoRI
from lori_cl.methods.sequential_lora import SequentialLoRA

METHODS: Mapping[str, type[Method]] = {
    "lori": LoRI,
    "sequential-lora": SequentialLoRA,
}

__all__ = ["METHODS", "Learned", "Method", "Outcome", "StageContext", "Tensors"]
