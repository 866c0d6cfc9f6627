"""Within what cells compete for a place in a mask: groups of sites, by the names of their modules.

To add one: write a function from a site's name to its group's, and name it in `GRANULARITIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Int64
from torch import Tensor

from lori_cl.masks.mask import Shapes


def _model(site: str) -> str:
    return ""


def _module(site: str) -> str:
    return "attention" if "attn" in site.lower() or "attention" in site.lower() else "mlp"


def _projection(site: str) -> str:
    """The path inside a layer: that of every layer's query, say."""
    return ".".join("*" if part.isdecimal() else part for part in site.split("."))


def _layer(site: str) -> str:
    """The path up to the first number; a site outside the layers is a layer of its own."""
    parts = site.split(".")
    numbers = [position for position, part in enumerate(parts) if part.isdecimal()]
    return ".".join(parts[: numbers[0] + 1]) if numbers else site


def _matrix(site: str) -> str:
    return site


GRANULARITIES: Mapping[str, Callable[[str], str]] = {
    "model": _model,
    "module": _module,
    "projection": _projection,
    "layer": _layer,
    "matrix": _matrix,
}
"""Source of the five: LoRI (Zhang et al. 2025), ablation of mask granularity."""


def cells_of_groups(shapes: Shapes, granularity: str) -> list[Int64[Tensor, "group_cells"]]:
    """Each group's cells in ascending order; the groups in the order in which their first sites stand."""
    parts: dict[str, list[Tensor]] = {}
    first = 0
    for site, (out, rank) in shapes.items():
        name = GRANULARITIES[granularity](site)
        parts.setdefault(name, []).append(torch.arange(first, first + out * rank))
        first += out * rank
    return [torch.cat(cells) for cells in parts.values()]
