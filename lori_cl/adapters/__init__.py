"""The adapter: frozen projections A and sparse B inside an ordinary PEFT model."""

from lori_cl.adapters.bank import Bank, Projections
from lori_cl.adapters.cells import Cells
from lori_cl.adapters.excluded_directions import EarlierStages, excluded_directions, project_out
from lori_cl.adapters.external_adapter import ExternalAdapter, read_external_adapter
from lori_cl.adapters.external_files import read_metadata, read_tensors
from lori_cl.adapters.inputs import InputMoments, principal_directions, record_inputs
from lori_cl.adapters.interference import delta_cosine, output_energy, projection_cosines
from lori_cl.adapters.lora_model import ADAPTER_NAME, lora_model
from lori_cl.adapters.lora_weights import (
    LoRAWeights,
    add_adapter,
    is_transposed,
    read_weights,
    task_type_of,
)
from lori_cl.adapters.merging import MERGES, Merged, MergeSettings, merge, resolve_settings, resolve_weights
from lori_cl.adapters.model_probe import ordinary_ids, probing, read_ids, record_calls, token_embeddings
from lori_cl.adapters.peft_files import METADATA_KEY, check_writable, new_folder, save_peft, save_tensors
from lori_cl.adapters.projection import draw_projection
from lori_cl.adapters.site_selection import SiteSelection, select_sites
from lori_cl.adapters.site_summary import describe_sites
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
    "MERGES",
    "METADATA_KEY",
    "Bank",
    "Cells",
    "EarlierStages",
    "ExternalAdapter",
    "InputMoments",
    "LoRAWeights",
    "MergeSettings",
    "Merged",
    "Projections",
    "Site",
    "SiteSelection",
    "SparseAdapter",
    "add_adapter",
    "attach",
    "check_writable",
    "delta_cosine",
    "describe_sites",
    "draw_projection",
    "draw_projections",
    "excluded_directions",
    "is_transposed",
    "lora_layers",
    "lora_model",
    "merge",
    "new_folder",
    "ordinary_ids",
    "output_energy",
    "principal_directions",
    "probing",
    "project_out",
    "projection_cosines",
    "projections_digest",
    "read_external_adapter",
    "read_ids",
    "read_metadata",
    "read_tensors",
    "read_weights",
    "record_calls",
    "record_inputs",
    "resolve_settings",
    "resolve_weights",
    "save_peft",
    "save_tensors",
    "select_sites",
    "site_shapes",
    "task_type_of",
    "tensors_digest",
    "token_embeddings",
]
