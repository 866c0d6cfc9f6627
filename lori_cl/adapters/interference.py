"""Measures of interference between two low-rank updates of one site, without building a dense ΔW."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters.lora_weights import LoRAWeights


def delta_cosine(one: LoRAWeights, other: LoRAWeights, site: str) -> float:
    """Return the cosine of ΔW₁ and ΔW₂ as vectors; 0 if either is zero."""
    norms = _inner(one, one, site) * _inner(other, other, site)
    return _inner(one, other, site) / norms**0.5 if norms > 0 else 0.0


def projection_cosines(one: LoRAWeights, other: LoRAWeights, site: str) -> Float[Tensor, "r"]:
    """Return the cosines of the principal angles of the row spaces of A₁ and A₂, largest first, float64."""
    bases = [torch.linalg.qr(each.a[site].double().T).Q for each in (one, other)]  # (d_in, r)
    cosines: Tensor = torch.linalg.svdvals(bases[0].T @ bases[1]).clamp(max=1.0)
    return cosines


def output_energy(weights: LoRAWeights, site: str, moment: Float[Tensor, "d_in d_in"]) -> float:
    """Return Σ ‖ΔW x‖² over the inputs x with the second moment Σ x xᵀ, computed on its device."""
    a, b = weights.a[site].to(moment), weights.b[site].to(moment)
    projected = a @ moment @ a.T  # (r, r)
    return weights.scaling**2 * float(torch.trace(b @ projected @ b.T))


def _inner(one: LoRAWeights, other: LoRAWeights, site: str) -> float:
    """Return ⟨ΔW₁, ΔW₂⟩ = s₁ s₂ Σ (B₁ᵀ B₂) ∘ (A₁ A₂ᵀ)."""
    of_b = one.b[site].double().T @ other.b[site].double()  # (r, r)
    of_a = one.a[site].double() @ other.a[site].double().T  # (r, r)
    return one.scaling * other.scaling * float((of_b * of_a).sum())
