"""What a stage of LoRI leaves behind, as tensors by name and as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters import Cells, Projections, Site, site_shapes
from lori_cl.errors import ArtifactDamaged
from lori_cl.masks import Mask
from lori_cl.methods.base import Learned
from lori_cl.methods.lori_stage_checks import check_inputs, check_projections, check_rank, check_values

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
    def from_learned(cls, learned: Learned, sites: Sequence[Site]) -> LoRIStage:
        """Undo `to_tensors`; `sites` are those of an adapter that has not grown.

        Raises: ArtifactDamaged, if the tensors are not those of a stage on these sites.
        """
        try:
            return cls._from_tensors(learned, sites)
        except ArtifactDamaged as error:
            raise ArtifactDamaged(
                f"the file of stage '{learned.task}' is damaged: {error}; restore it from a backup"
            ) from None

    @classmethod
    def _from_tensors(cls, learned: Learned, sites: Sequence[Site]) -> LoRIStage:
        by_prefix: dict[str, dict[str, Tensor]] = {MASK: {}, VALUES: {}, A: {}, INPUTS: {}}
        for key, tensor in learned.tensors.items():
            prefix, slash, name = key.partition("/")
            if prefix + slash in by_prefix:
                by_prefix[prefix + slash][name] = tensor
            elif key != RANK:
                raise ArtifactDamaged(f"it holds '{key}', which no stage has")
        shapes = site_shapes(sites)
        if RANK in learned.tensors:
            rank = check_rank(learned.tensors[RANK], sites)
            shapes = {site: (out, rank) for site, (out, _) in shapes.items()}
        mask = Mask.from_packed(by_prefix[MASK], shapes)
        check_values(by_prefix[VALUES], mask)
        if by_prefix[A]:
            check_projections(by_prefix[A], sites, mask.rank)
        inputs = {tuple(key.split(BETWEEN_SITES)): u for key, u in by_prefix[INPUTS].items()}
        check_inputs(inputs, sites)
        return cls(
            mask=mask,
            values=by_prefix[VALUES],
            projections={site: by_prefix[A][site] for site in shapes} if by_prefix[A] else None,
            inputs=inputs,
            seed=learned.seeds.get("projection"),
        )
