"""The directions that a new projection A excludes, by kind of projection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.errors import InputError
from lori_cl.lori_rules import ProjectionKind

Directions = Float[Tensor, "d_in k"]
"""Orthonormal columns, float64."""


ROUNDING = 1e-12
"""Fraction of a row's norm that rounding in float64 can leave if all of its directions are removed."""


@dataclass(frozen=True)
class EarlierStages:
    """The projections and input directions of earlier tasks at one site."""

    projections: Sequence[Float[Tensor, "r d_in"]]
    """The A of each earlier task."""
    inputs: Directions
    """Directions of their inputs to the site."""


def excluded_directions(kind: ProjectionKind, past: EarlierStages) -> Directions:
    """Return the directions that a new A of this kind is orthogonal to."""
    if kind.excludes == "inputs":
        return past.inputs
    rows = torch.cat([a.double() for a in past.projections])  # (Σr, d_in)
    basis: Directions = torch.linalg.qr(rows.T).Q
    return basis


def project_out(drawn: Float[Tensor, "r d_in"], directions: Directions) -> Float[Tensor, "r d_in"]:
    """Return A (I − U Uᵀ) with every row rescaled to its old norm; float32, computed in float64.

    Source: Adam-NSCL (Wang et al. 2021), GPM (Saha et al. 2021) and InfLoRA (Liang & Li 2024) make updates
    orthogonal to the span of earlier inputs; here, the frozen random A is made orthogonal.
    Raises: InputError, if a row lies entirely within the directions.
    """
    a = drawn.double()
    projected = a
    for _ in range(2):  # the second pass removes rounding errors of the first
        projected = projected - (projected @ directions) @ directions.T
    norm, old_norm = projected.norm(dim=1, keepdim=True), a.norm(dim=1, keepdim=True)
    if bool((norm <= ROUNDING * old_norm).any()):
        raise InputError(
            "the drawn A lies within the directions that it must exclude, as it does with the seed of an "
            "earlier A; set another seed in the curriculum or in the task"
        )
    rescaled: Float[Tensor, "r d_in"] = (projected * (old_norm / norm)).float()
    return rescaled
