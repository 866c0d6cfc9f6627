"""Whether a merge is asked for in a way that means something."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lori_cl.adapters.merging.base import FactorMerge, MergeMethod, MergeSettings
from lori_cl.adapters.merging.methods import MERGES
from lori_cl.errors import InputError, suggestion


def merge_named(name: str) -> MergeMethod:
    """The method of this name.

    Raises: InputError, with the nearest name.
    """
    if name not in MERGES:
        begun = next((f" Did you mean '{each}'?" for each in MERGES if name and each.startswith(name)), "")
        near = suggestion(name, MERGES) or begun or f" There are: {', '.join(MERGES)}."
        raise InputError(f"there is no merge method '{name}'.{near}")
    return MERGES[name]


def settled_settings(name: str, settings: MergeSettings) -> MergeSettings:
    """The settings as the method uses them; what it has no use for stays None.

    Raises: InputError, if something was set that it does not use, or it lacks something.
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
        idle = [option for option, value in given.items() if value is not None]
        if idle:
            raise InputError(f"merge method '{name}' prunes nothing and takes no {' or '.join(idle)}")
        return settings
    if settings.density is None or not 0 < settings.density <= 1:
        got = "none was given" if settings.density is None else f"not {settings.density:g}"
        raise InputError(
            f"merge method '{name}' keeps a fraction of each adapter's non-zero entries: "
            f"--density should be above 0 and at most 1, and {got}"
        )
    if settings.rank is not None and settings.on != "delta":
        raise InputError("--rank cuts a merged ΔW, and B's keep their own ranks: add --on delta")
    if settings.rank is not None and settings.rank < 1:
        raise InputError(f"--rank should be 1 or more, not {settings.rank}")
    if settings.seed is not None and not method.draws:
        raise InputError(f"merge method '{name}' drops nothing by chance and takes no --seed")
    return replace(settings, on=settings.on or "b", seed=settings.seed or 0 if method.draws else None)


def settled_weights(name: str, adapters: int, weights: Sequence[float] | None) -> list[float]:
    """One weight an adapter, 1 where none are given; divided by their sum for a method that averages.

    Raises: InputError, if there are too few or too many, or they cannot be used.
    """
    weights = [1.0] * adapters if weights is None else list(weights)
    if len(weights) != adapters:
        raise InputError(f"{adapters} adapters and {len(weights)} weights: give one weight an adapter")
    if not all(math.isfinite(weight) for weight in weights):
        raise InputError(f"weights should be numbers, and these are {', '.join(map(str, weights))}")
    method = merge_named(name)
    if not (isinstance(method, FactorMerge) and method.normalises):
        return weights
    total = math.fsum(weights)
    if total == 0:
        raise InputError(
            f"the weights of '{name}' are divided by their sum, and it is 0; choose --method sum"
        )
    return [weight / total for weight in weights]
