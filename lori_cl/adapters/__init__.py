"""The adapter: frozen projections, sparse B, and their place inside an ordinary PEFT model."""

from lori_cl.adapters.cells import Cells
from lori_cl.adapters.lora_model import ADAPTER_NAME, lora_model
from lori_cl.adapters.projection import draw_projection
from lori_cl.adapters.sites import Site
from lori_cl.adapters.sparse_adapter import (
    SparseAdapter,
    attach,
    lora_layers,
    site_shapes,
    tensors_digest,
)

__all__ = [
    "ADAPTER_NAME",
    "Cells",
    "Site",
    "SparseAdapter",
    "attach",
    "draw_projection",
    "lora_layers",
    "lora_model",
    "site_shapes",
    "tensors_digest",
]
