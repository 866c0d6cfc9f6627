"""Kinds of projection: which task has which A.

To add one: name it here and in `lori_cl/spec/curriculum.py`, with the directions that its A's keep away from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.errors import InputError

Directions = Float[Tensor, "d_in k"]
"""Orthonormal columns, float64."""


ROUNDING = 1e-12
"""Of a row's norm: what float64 leaves of one that lies wholly within directions taken out of it."""


@dataclass(frozen=True)
class Past:
    """What earlier tasks left behind at one site."""

    projections: Sequence[Float[Tensor, "r d_in"]]
    """Their A's."""
    inputs: Directions
    """The directions that they feed into it."""


@dataclass(frozen=True)
class ProjectionKind:
    """What a task's A is made of, beside its seed."""

    per_task: bool
    """Whether every task has an A of its own."""
    avoids: Callable[[Past], Directions] | None = None
    """The directions that a new A must be blind to; None draws it freely."""
    gathers_inputs: bool = False
    """Whether every stage leaves the directions of its inputs behind."""

    @property
    def stored(self) -> bool:
        """Whether A depends on more than its seed, so that it is kept instead of drawn again."""
        return self.avoids is not None


def _rows_of_earlier(past: Past) -> Directions:
    rows = torch.cat([a.double() for a in past.projections])  # (Σr, d_in)
    basis: Directions = torch.linalg.qr(rows.T).Q
    return basis


def _inputs_of_earlier(past: Past) -> Directions:
    return past.inputs


PROJECTIONS: Mapping[str, ProjectionKind] = {
    "shared": ProjectionKind(per_task=False),
    "per-task": ProjectionKind(per_task=True),
    "orthogonal": ProjectionKind(per_task=True, avoids=_rows_of_earlier),
    "null-space": ProjectionKind(per_task=True, avoids=_inputs_of_earlier, gathers_inputs=True),
}


def blind(drawn: Float[Tensor, "r d_in"], directions: Directions) -> Float[Tensor, "r d_in"]:
    """A (I − U Uᵀ), every row rescaled to its old norm; float32, computed in float64.

    Raises: InputError, if a row has nothing outside the directions.

    Source: Adam-NSCL (Wang et al. 2021), GPM (Saha et al. 2021) and InfLoRA (Liang & Li 2024) keep updates
    out of the span of earlier inputs; here the frozen random A is.
    """
    a = drawn.double()
    blinded = a
    for _ in range(2):  # once more removes what rounding left of the directions
        blinded = blinded - (blinded @ directions) @ directions.T
    left, whole = blinded.norm(dim=1, keepdim=True), a.norm(dim=1, keepdim=True)
    if bool((left <= ROUNDING * whole).any()):
        raise InputError(
            "an A was drawn that lies within what it must keep out of, as one drawn from the same seed does; "
            "set another seed in the curriculum or in the task"
        )
    rescaled: Float[Tensor, "r d_in"] = (blinded * (whole / left)).float()
    return rescaled
