"""How many sites' second moments are gathered in one pass over the examples."""

from __future__ import annotations

from collections.abc import Sequence

from lori_cl.adapters import Site
from lori_cl.masks import GRANULARITIES

MOMENTS_BYTES = 8 * 2**30
"""Second moments that are gathered in one pass over the examples; at Llama-3-8B's sizes, a few layers'."""


def passes(sites: Sequence[Site], limit_bytes: int = MOMENTS_BYTES) -> list[list[str]]:
    """The sites in groups whose second moments fit into memory together; a layer is never divided.

    Sites of one layer may share an input, which only one pass over all of them can see.
    """
    layer_of = GRANULARITIES["layer"]
    layers: dict[str, list[Site]] = {}
    for site in sites:
        layers.setdefault(layer_of(site.name), []).append(site)
    groups: list[list[str]] = []
    room = 0
    for layer in layers.values():
        needed = sum(8 * site.in_features**2 for site in layer)  # float64, none of them shared
        if not groups or needed > room:
            groups.append([])
            room = limit_bytes
        groups[-1] += [site.name for site in layer]
        room -= needed
    return groups
