"""Merging whole adapters, site by site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lori_cl.adapters.lora_weights import LoRAWeights
from lori_cl.adapters.merging.base import FactorMerge, Factors, MergeSettings, PruningMerge
from lori_cl.adapters.merging.cat import groups_by_a, under_each_a
from lori_cl.adapters.merging.checks import merge_named, settled_settings, settled_weights
from lori_cl.adapters.merging.factoring import factored
from lori_cl.errors import InputError


@dataclass(frozen=True)
class Merged:
    """Several adapters as one."""

    weights: LoRAWeights
    """Of one rank at every site, padded with zeros where a site needs less; the scaling is 1."""
    truncation_error: float | None
    """‖ΔW − B A‖ / ‖ΔW‖, Frobenius, over all sites, where a merged ΔW was factored; None where none was."""


def merge(
    adapters: Sequence[LoRAWeights],
    name: str,
    weights: Sequence[float] | None = None,
    settings: MergeSettings | None = None,
) -> Merged:
    """Merge adapters of one base model; at a site that only some of them have, those.

    Ranks may differ, and adapters may share their A's or have their own. No global generator is moved.
    Raises: InputError, if the weights or the settings do not fit the method, or the method the adapters.
    """
    method = merge_named(name)
    settings = settled_settings(name, settings or MergeSettings())
    shares = settled_weights(name, len(adapters), weights)
    sites = _by_site(adapters, shares)
    if isinstance(method, FactorMerge):
        return Merged(_packed({s: method.combine(*sites[s]) for s in sites}), truncation_error=None)
    with _seeded(settings.seed or 0):
        if settings.on == "delta":
            return _on_delta(method, sites, settings)
        return _on_b(name, method, sites, settings)


_AtSites = Mapping[str, tuple[Sequence[Factors], Sequence[float]]]


def _by_site(adapters: Sequence[LoRAWeights], weights: Sequence[float]) -> _AtSites:
    """Every site's adapters with their weights."""
    sites: dict[str, tuple[list[Factors], list[float]]] = {}
    for adapter, weight in zip(adapters, weights, strict=True):
        for site, a in adapter.a.items():
            factors, shares = sites.setdefault(site, ([], []))
            factors.append(Factors(a, adapter.b[site], adapter.scaling))
            shares.append(weight)
    return sites


def _on_b(name: str, method: PruningMerge, sites: _AtSites, settings: MergeSettings) -> Merged:
    if method.elects_signs:
        apart = [site for site, (factors, _) in sites.items() if len(groups_by_a(factors)) > 1]
        if apart:
            raise InputError(
                f"merge method '{name}' elects a sign for every cell of B, and the adapters have different "
                f"A's at {len(apart)} of {len(sites)} sites: the same cell of B means something else under "
                "each; add --on delta"
            )
    density = settings.density
    assert density is not None, "the settings are checked"

    def combine(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        return method.combine(tensors, weights, density)

    merged = {site: under_each_a(factors, shares, combine) for site, (factors, shares) in sites.items()}
    return Merged(_packed(merged), truncation_error=None)


def _on_delta(method: PruningMerge, sites: _AtSites, settings: MergeSettings) -> Merged:
    assert settings.density is not None, "the settings are checked"
    merged, lost, whole = {}, 0.0, 0.0
    for site, (factors, weights) in sites.items():
        delta = method.combine([each.delta() for each in factors], weights, settings.density)
        rank = settings.rank or sum(each.a.shape[0] for each in factors)
        merged[site] = factored(delta, rank)
        lost += _squared(delta - merged[site].delta())
        whole += _squared(delta)
    return Merged(_packed(merged), truncation_error=(lost / whole) ** 0.5 if whole else 0.0)


def _packed(merged: Mapping[str, Factors]) -> LoRAWeights:
    """One rank for all sites: not every server of adapters knows ranks by site."""
    rank = max(each.a.shape[0] for each in merged.values())
    return LoRAWeights(
        a={s: functional.pad(f.a, (0, 0, 0, rank - f.a.shape[0])) for s, f in merged.items()},
        b={s: functional.pad(f.scaled_b(), (0, rank - f.b.shape[1])) for s, f in merged.items()},
        scaling=1.0,
    )


def _squared(tensor: Tensor) -> float:
    return float(tensor.double().square().sum())


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """PEFT draws from the CPU's global generator; it is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed GPUs too
        yield
