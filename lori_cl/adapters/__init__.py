"""The adapter: frozen projections, sparse B, and their place inside an ordinary PEFT model."""

from lori_cl.adapters.bank import Bank, Projections
from lori_cl.adapters.cells import Cells
from lori_cl.adapters.foreign import ForeignAdapter, read_foreign
from lori_cl.adapters.inputs import InputMoments, principal_directions, record_inputs
from lori_cl.adapters.interference import delta_cosine, output_energy, projection_cosines
from lori_cl.adapters.lora_model import ADAPTER_NAME, lora_model
from lori_cl.adapters.lora_weights import LoRAWeights, add_adapter, read_weights
from lori_cl.adapters.projection import draw_projection
from lori_cl.adapters.projection_kinds import PROJECTIONS, Past, ProjectionKind, blind
from lori_cl.adapters.sites import Site
from lori_cl.adapters.sparse_adapter import (
    SparseAdapter,
    attach,
    draw_projections,
    lora_layers,
    projections_digest,
    site_shapes,
    tensors_digest,
)

__all__ = [
    "ADAPTER_NAME",
    "PROJECTIONS",
    "Bank",
    "Cells",
    "ForeignAdapter",
    "InputMoments",
    "LoRAWeights",
    "Past",
    "ProjectionKind",
    "Projections",
    "Site",
    "SparseAdapter",
    "add_adapter",
    "attach",
    "blind",
    "delta_cosine",
    "draw_projection",
    "draw_projections",
    "lora_layers",
    "lora_model",
    "output_energy",
    "principal_directions",
    "projection_cosines",
    "projections_digest",
    "read_foreign",
    "read_weights",
    "record_inputs",
    "site_shapes",
    "tensors_digest",
]
