"""What a stage of LoRI leaves behind, as tensors by name and as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters import Cells, Projections
from lori_cl.masks import Mask
from lori_cl.masks.mask import Shapes
from lori_cl.methods.base import Learned

MASK, VALUES, A, INPUTS, RANK = "mask/", "values/", "A/", "inputs/", "rank"
BETWEEN_SITES = ","


@dataclass(frozen=True)
class LoRIStage:
    """One task's cells, and what later tasks must know of it."""

    mask: Mask
    values: Mapping[str, Float[Tensor, "cells"]]
    """Per site, float32 or as `adapter.kept_in` says, in the mask's row-major order; a site without cells is
    left out."""
    projections: Projections | None = None
    """The A's, where they depend on more than their seed."""
    inputs: Mapping[tuple[str, ...], Float[Tensor, "d_in k"]] = field(default_factory=dict)
    """By the sites that read the same input: the directions that the task newly took of it, orthonormal."""
    seed: int | None = None
    """What its A's were drawn from; None in records from before tasks could have their own."""

    @property
    def cells(self) -> Cells:
        """What acts."""
        return Cells(self.mask.by_site, self.values)

    @property
    def rank(self) -> int:
        """Columns of B when the stage was learned."""
        return self.mask.rank

    def to_tensors(self) -> dict[str, Tensor]:
        """`mask/SITE`, packed bits; `values/SITE`; `rank`; and `A/SITE` (r, d_in) and
        `inputs/SITE,SITE,…` (d_in, k), where there are any."""
        return {
            **{f"{MASK}{site}": bits for site, bits in self.mask.packed().items()},
            **{f"{VALUES}{site}": values for site, values in self.values.items()},
            RANK: torch.tensor(self.rank),
            **{f"{A}{site}": a for site, a in (self.projections or {}).items()},
            **{f"{INPUTS}{BETWEEN_SITES.join(sites)}": u for sites, u in self.inputs.items()},
        }

    @classmethod
    def from_learned(cls, learned: Learned, shapes: Shapes) -> LoRIStage:
        """Undo `to_tensors`; `shapes` are those of an adapter that has not grown."""
        tensors = learned.tensors
        by_prefix = {
            prefix: {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
            for prefix in (MASK, VALUES, A, INPUTS)
        }
        if RANK in tensors:
            shapes = {site: (out, int(tensors[RANK])) for site, (out, _) in shapes.items()}
        return cls(
            mask=Mask.from_packed(by_prefix[MASK], shapes),
            values=by_prefix[VALUES],
            projections={site: by_prefix[A][site] for site in shapes} if by_prefix[A] else None,
            inputs={tuple(key.split(BETWEEN_SITES)): u for key, u in by_prefix[INPUTS].items()},
            seed=learned.seeds.get("projection"),
        )
