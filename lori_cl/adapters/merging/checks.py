"""Validation of merge methods, settings and weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lori_cl.adapters.merging.base import FactorMerge, MergeMethod, MergeSettings
from lori_cl.adapters.merging.methods import MERGES
from lori_cl.errors import InputError


def merge_named(name: str) -> MergeMethod:
    """Return the merge method with this name.

    Raises: InputError, with the nearest name.
    """
    return MERGES.find(name)


def resolve_settings(name: str, settings: MergeSettings) -> MergeSettings:
    """Return the settings with defaults filled in; settings that the method does not use stay None.

    Raises: InputError, if a setting is not used by the method, invalid or missing.
    """
    method = merge_named(name)
    if isinstance(method, FactorMerge):
        on = f"--on {settings.on}"
        given = {
            on: settings.on,
            "--density": settings.density,
            "--rank": settings.rank,
            "--seed": settings.seed,
        }
        unused = [option for option, value in given.items() if value is not None]
        if unused:
            raise InputError(f"merge method '{name}' does not prune, so it accepts no {' or '.join(unused)}")
        return settings
    if settings.density is None or not 0 < settings.density <= 1:
        found = "it is not given" if settings.density is None else f"it is {settings.density:g}"
        raise InputError(
            f"merge method '{name}' keeps a fraction of each adapter's non-zero entries: "
            f"--density must be above 0 and at most 1, but {found}"
        )
    if settings.rank is not None and settings.on != "delta":
        raise InputError("--rank applies to a merged ΔW only: add --on delta")
    if settings.rank is not None and settings.rank < 1:
        raise InputError(f"--rank must be at least 1, but it is {settings.rank}")
    if settings.seed is not None and not method.random:
        raise InputError(f"merge method '{name}' drops no entries at random, so it accepts no --seed")
    return replace(settings, on=settings.on or "b", seed=settings.seed or 0 if method.random else None)


def resolve_weights(name: str, adapters: int, weights: Sequence[float] | None) -> list[float]:
    """Return one weight per adapter, 1 by default; divided by their sum if the method averages.

    Raises: InputError, if their number is wrong, or a weight or their sum is invalid.
    """
    weights = [1.0] * adapters if weights is None else list(weights)
    if len(weights) != adapters:
        raise InputError(f"{adapters} adapters, but {len(weights)} weights: give one weight per adapter")
    if not all(math.isfinite(weight) for weight in weights):
        raise InputError(f"weights must be finite numbers, but they are {', '.join(map(str, weights))}")
    method = merge_named(name)
    if not (isinstance(method, FactorMerge) and method.normalises):
        return weights
    total = math.fsum(weights)
    if total == 0:
        raise InputError(f"'{name}' divides the weights by their sum, but it is 0; use --method sum")
    return [weight / total for weight in weights]
