"""The result of a LoRI stage, as an object and as named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters import Cells, Projections, Site, site_shapes
from lori_cl.errors import ArtifactDamaged
from lori_cl.masks import Mask
from lori_cl.methods.base import StageState
from lori_cl.methods.lori_stage_checks import check_inputs, check_projections, check_rank, check_values

MASK, VALUES, A, INPUTS, RANK = "mask/", "values/", "A/", "inputs/", "rank"
SITE_SEPARATOR = ","


@dataclass(frozen=True)
class LoRIStage:
    """One task's cells, and the data that later tasks need."""

    mask: Mask
    values: Mapping[str, Float[Tensor, "cells"]]
    """Per site, in the dtype `adapter.kept_in` and in row-major order; sites without cells are omitted."""
    projections: Projections | None = None
    """The projections A, if they cannot be drawn again from the seed."""
    inputs: Mapping[tuple[str, ...], Float[Tensor, "d_in k"]] = field(default_factory=dict)
    """By sites that share an input: the directions of it that the task newly reserves, orthonormal."""
    seed: int | None = None
    """Seed of its projections A; None in old records, where tasks share them."""

    @property
    def cells(self) -> Cells:
        """The cells and their values."""
        return Cells(self.mask.by_site, self.values)

    @property
    def rank(self) -> int:
        """The adapter's rank when the stage was trained."""
        return self.mask.rank

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the named tensors.

        `mask/SITE`, packed bits; `values/SITE`; `rank`; and, if present, `A/SITE` (r, d_in) and
        `inputs/SITE,SITE,…` (d_in, k).
        """
        return {
            **{f"{MASK}{site}": bits for site, bits in self.mask.packed().items()},
            **{f"{VALUES}{site}": values for site, values in self.values.items()},
            RANK: torch.tensor(self.rank),
            **{f"{A}{site}": a for site, a in (self.projections or {}).items()},
            **{f"{INPUTS}{SITE_SEPARATOR.join(sites)}": u for sites, u in self.inputs.items()},
        }

    @classmethod
    def from_state(cls, state: StageState, sites: Sequence[Site]) -> LoRIStage:
        """Create a stage from named tensors; `sites` are those of an adapter that has not grown.

        Raises: ArtifactDamaged, if the tensors do not match a stage on these sites.
        """
        try:
            return cls._from_tensors(state, sites)
        except ArtifactDamaged as error:
            raise ArtifactDamaged(
                f"the file of stage '{state.task}' is damaged: {error}; restore it from a backup"
            ) from None

    @classmethod
    def _from_tensors(cls, state: StageState, sites: Sequence[Site]) -> LoRIStage:
        by_prefix: dict[str, dict[str, Tensor]] = {MASK: {}, VALUES: {}, A: {}, INPUTS: {}}
        for key, tensor in state.tensors.items():
            prefix, slash, name = key.partition("/")
            if prefix + slash in by_prefix:
                by_prefix[prefix + slash][name] = tensor
            elif key != RANK:
                raise ArtifactDamaged(f"it holds an unknown tensor '{key}'")
        shapes = site_shapes(sites)
        if RANK in state.tensors:
            rank = check_rank(state.tensors[RANK], sites)
            shapes = {site: (out, rank) for site, (out, _) in shapes.items()}
        mask = Mask.from_packed(by_prefix[MASK], shapes)
        check_values(by_prefix[VALUES], mask)
        if by_prefix[A]:
            check_projections(by_prefix[A], sites, mask.rank)
        inputs = {tuple(key.split(SITE_SEPARATOR)): u for key, u in by_prefix[INPUTS].items()}
        check_inputs(inputs, sites)
        return cls(
            mask=mask,
            values=by_prefix[VALUES],
            projections={site: by_prefix[A][site] for site in shapes} if by_prefix[A] else None,
            inputs=inputs,
            seed=state.seeds.get("projection"),
        )
