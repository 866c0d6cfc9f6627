"""Merge adapters site by site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lori_cl.adapters.lora_weights import LoRAWeights
from lori_cl.adapters.merging.base import FactorMerge, Factors, MergeSettings, PruningMerge
from lori_cl.adapters.merging.cat import combine_per_a, groups_by_a
from lori_cl.adapters.merging.checks import merge_named, resolve_settings, resolve_weights
from lori_cl.adapters.merging.low_rank import factored
from lori_cl.errors import InputError


@dataclass(frozen=True)
class Merged:
    """The result of merging several adapters."""

    weights: LoRAWeights
    """The merged adapter. It has one rank at all sites, padded with zeros; its scaling is 1."""
    truncation_error: float | None
    """‖ΔW − B A‖ / ‖ΔW‖, Frobenius, over all sites; None if no ΔW was factored."""


def merge(
    adapters: Sequence[LoRAWeights],
    name: str,
    weights: Sequence[float] | None = None,
    settings: MergeSettings | None = None,
) -> Merged:
    """Merge adapters of one base model; at each site, those that have the site.

    Ranks may differ. Adapters may share A or have their own. Global random generators keep their state.
    Raises: InputError, if the weights or settings are invalid for the method, or the method for the adapters.
    """
    method = merge_named(name)
    settings = resolve_settings(name, settings or MergeSettings())
    shares = resolve_weights(name, len(adapters), weights)
    sites = _by_site(adapters, shares)
    if isinstance(method, FactorMerge):
        return Merged(_with_one_rank({s: method.combine(*sites[s]) for s in sites}), truncation_error=None)
    with _seeded(settings.seed or 0):
        if settings.on == "delta":
            return _on_delta(method, sites, settings)
        return _on_b(name, method, sites, settings)


_AtSites = Mapping[str, tuple[Sequence[Factors], Sequence[float]]]


def _by_site(adapters: Sequence[LoRAWeights], weights: Sequence[float]) -> _AtSites:
    """Return the adapters of every site with their weights."""
    sites: dict[str, tuple[list[Factors], list[float]]] = {}
    for adapter, weight in zip(adapters, weights, strict=True):
        for site, a in adapter.a.items():
            factors, shares = sites.setdefault(site, ([], []))
            factors.append(Factors(a, adapter.b[site], adapter.scaling))
            shares.append(weight)
    return sites


def _on_b(name: str, method: PruningMerge, sites: _AtSites, settings: MergeSettings) -> Merged:
    if method.elects_signs:
        different_a = [site for site, (factors, _) in sites.items() if len(groups_by_a(factors)) > 1]
        if different_a:
            raise InputError(
                f"merge method '{name}' elects a sign for every cell of B, but the adapters have different A "
                f"at {len(different_a)} of {len(sites)} sites, so their cells of B are not comparable; add "
                "--on delta"
            )
    density = settings.density
    assert density is not None, "the settings are validated"

    def combine(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        return method.combine(tensors, weights, density)

    merged = {site: combine_per_a(factors, shares, combine) for site, (factors, shares) in sites.items()}
    return Merged(_with_one_rank(merged), truncation_error=None)


def _on_delta(method: PruningMerge, sites: _AtSites, settings: MergeSettings) -> Merged:
    assert settings.density is not None, "the settings are validated"
    merged, squared_error, squared_norm = {}, 0.0, 0.0
    for site, (factors, weights) in sites.items():
        delta = method.combine([each.delta() for each in factors], weights, settings.density)
        rank = settings.rank or sum(each.a.shape[0] for each in factors)
        merged[site] = factored(delta, rank)
        squared_error += _squared(delta - merged[site].delta())
        squared_norm += _squared(delta)
    error = (squared_error / squared_norm) ** 0.5 if squared_norm else 0.0
    return Merged(_with_one_rank(merged), truncation_error=error)


def _with_one_rank(merged: Mapping[str, Factors]) -> LoRAWeights:
    """Pad all sites to one rank: not every LoRA server supports a different rank per site."""
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
    """Seed the CPU's global generator, which PEFT uses; restore its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed GPUs too
        yield
