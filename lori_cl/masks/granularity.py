"""Mask granularities: the groups of sites within which cells compete for a mask, by module name.

To add one, write a function from a site's name to its group's name, and add it to `GRANULARITIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping


def _model(site: str) -> str:
    return ""


def _module(site: str) -> str:
    return "attention" if "attn" in site.lower() or "attention" in site.lower() else "mlp"


def _projection(site: str) -> str:
    """Return the path without layer numbers, which is the same for the query of every layer, for example."""
    return ".".join("*" if part.isdecimal() else part for part in site.split("."))


def _layer(site: str) -> str:
    """Return the path up to the first number; a site outside the layers is its own group."""
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


def groups_of_sites(sites: Iterable[str], granularity: str) -> list[list[str]]:
    """Return the sites of each group, in order; groups are ordered by their first site."""
    groups: dict[str, list[str]] = {}
    for site in sites:
        groups.setdefault(GRANULARITIES[granularity](site), []).append(site)
    return list(groups.values())
