"""Group sites so that the second moments of a group fit into memory in one pass over the examples."""

from __future__ import annotations

from collections.abc import Sequence

from lori_cl.adapters import Site
from lori_cl.masks import GRANULARITIES

MOMENTS_BYTES = 8 * 2**30
"""Maximum bytes of second moments in one pass over the examples: a few layers of Llama-3-8B."""


def passes(sites: Sequence[Site], limit_bytes: int = MOMENTS_BYTES) -> list[list[str]]:
    """Return groups of sites whose second moments fit into memory together; a layer is never divided.

    Sites of one layer may share an input, which is detected only if one pass covers all of them.
    """
    layer_of = GRANULARITIES["layer"]
    layers: dict[str, list[Site]] = {}
    for site in sites:
        layers.setdefault(layer_of(site.name), []).append(site)
    groups: list[list[str]] = []
    left_bytes = 0
    for layer in layers.values():
        needed = sum(8 * site.in_features**2 for site in layer)  # float64, if no input is shared
        if not groups or needed > left_bytes:
            groups.append([])
            left_bytes = limit_bytes
        groups[-1] += [site.name for site in layer]
        left_bytes -= needed
    return groups
