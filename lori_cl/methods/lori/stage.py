"""The result of a LoRI stage, as an object and as named tensors.

Reading checks that the tensors form a valid stage; a file's digest only shows that it is unmodified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters import Cells, Projections, Site, site_shapes
from lori_cl.errors import ArtifactDamaged
from lori_cl.lori_rules import PROTECTED
from lori_cl.masks import Mask
from lori_cl.methods.stages import StageState

VALUE_TYPES = (torch.float32, torch.bfloat16)
"""The dtypes that `adapter.kept_in` allows."""

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
    protected: Mapping[tuple[str, ...], Float[Tensor, "d_in k"]] = field(default_factory=dict)
    """Like `inputs`: the directions that the protected texts use; only in a run's first stage."""

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

        `mask/SITE`, packed bits; `values/SITE`; `rank`; and, if present, `A/SITE` (r, d_in), and
        `inputs/SITE,SITE,…` and `protected/SITE,SITE,…` (d_in, k).
        """
        return {
            **{f"{MASK}{site}": bits for site, bits in self.mask.packed().items()},
            **{f"{VALUES}{site}": values for site, values in self.values.items()},
            RANK: torch.tensor(self.rank),
            **{f"{A}{site}": a for site, a in (self.projections or {}).items()},
            **{f"{INPUTS}{SITE_SEPARATOR.join(sites)}": u for sites, u in self.inputs.items()},
            **{f"{PROTECTED}{SITE_SEPARATOR.join(sites)}": u for sites, u in self.protected.items()},
        }

    @property
    def directions(self) -> dict[str, int]:
        """The number of directions by site; those of the protected texts have the prefix `protected/`."""
        own = {site: u.shape[1] for sites, u in self.inputs.items() for site in sites}
        generic = {PROTECTED + site: u.shape[1] for sites, u in self.protected.items() for site in sites}
        return {**own, **generic}

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
        by_prefix: dict[str, dict[str, Tensor]] = {
            prefix: {} for prefix in (MASK, VALUES, A, INPUTS, PROTECTED)
        }
        for key, tensor in state.tensors.items():
            prefix, slash, name = key.partition("/")
            if prefix + slash in by_prefix:
                by_prefix[prefix + slash][name] = tensor
            elif key != RANK:
                raise ArtifactDamaged(f"it holds an unknown tensor '{key}'")
        shapes = site_shapes(sites)
        if RANK in state.tensors:
            rank = _check_rank(state.tensors[RANK], sites)
            shapes = {site: (out, rank) for site, (out, _) in shapes.items()}
        mask = Mask.from_packed(by_prefix[MASK], shapes)
        _check_values(by_prefix[VALUES], mask)
        if by_prefix[A]:
            _check_projections(by_prefix[A], sites, mask.rank)
        inputs, protected = (
            {tuple(key.split(SITE_SEPARATOR)): u for key, u in by_prefix[prefix].items()}
            for prefix in (INPUTS, PROTECTED)
        )
        _check_inputs(inputs, sites)
        _check_inputs(protected, sites)
        return cls(
            mask=mask,
            values=by_prefix[VALUES],
            projections={site: by_prefix[A][site] for site in shapes} if by_prefix[A] else None,
            inputs=inputs,
            protected=protected,
            seed=state.seeds.get("projection"),
        )


def _check_rank(rank: Tensor, sites: Sequence[Site]) -> int:
    """Return the adapter rank recorded in a file; it is at least the initial rank.

    Raises: ArtifactDamaged.
    """
    if rank.shape != () or rank.dtype != torch.int64:
        raise ArtifactDamaged(f"its rank is {_describe(rank)}, not an int64 scalar")
    if int(rank) < sites[0].rank:
        raise ArtifactDamaged(
            f"its rank is {int(rank):,}, below the adapter's initial rank {sites[0].rank:,}"
        )
    return int(rank)


def _check_values(values: Mapping[str, Tensor], mask: Mask) -> None:
    """Check that every cell of the mask has a finite value, and no other cell has one.

    Raises: ArtifactDamaged, naming the site.
    """
    cells = {site: count for site, count in mask.count_by_site().items() if count}
    if values.keys() != cells.keys():
        raise ArtifactDamaged(f"the sites of its mask and of its values differ: {_difference(values, cells)}")
    for site, tensor in values.items():
        if tensor.shape != (cells[site],):
            raise ArtifactDamaged(f"{site} has {cells[site]:,} cells but its values are {_describe(tensor)}")
        _check_numbers(f"a value of {site}", tensor, VALUE_TYPES)


def _check_projections(projections: Projections, sites: Sequence[Site], rank: int) -> None:
    """Check that every site has a finite A (rank, d_in).

    Raises: ArtifactDamaged, naming the site.
    """
    by_name = {site.name: site for site in sites}
    if projections.keys() != by_name.keys():
        raise ArtifactDamaged(
            f"its projections A do not match the adapter's sites: {_difference(projections, by_name)}"
        )
    for name, a in projections.items():
        if a.shape != (rank, by_name[name].in_features):
            raise ArtifactDamaged(
                f"the A of {name} is {_describe(a)}, expected {(rank, by_name[name].in_features)}"
            )
        _check_numbers(f"a value in the A of {name}", a, (torch.float32,))


def _check_inputs(inputs: Mapping[tuple[str, ...], Tensor], sites: Sequence[Site]) -> None:
    """Check that the directions (d_in, k) are finite and belong to existing sites.

    Raises: ArtifactDamaged, naming the sites.
    """
    widths = {site.name: site.in_features for site in sites}
    for names, directions in inputs.items():
        expected = {widths.get(name) for name in names}
        if directions.dim() != 2 or expected != {directions.shape[0]}:
            raise ArtifactDamaged(f"the input directions of {', '.join(names)} are {_describe(directions)}")
        _check_numbers(f"an input direction of {', '.join(names)}", directions, (torch.float32,))


def _check_numbers(what: str, tensor: Tensor, types: Sequence[torch.dtype]) -> None:
    if tensor.dtype not in types:
        raise ArtifactDamaged(f"{what} has type {tensor.dtype}")
    if not bool(tensor.isfinite().all()):
        raise ArtifactDamaged(f"{what} is not finite")


def _describe(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {tensor.dtype}"


def _difference(left: Mapping[str, object], right: Mapping[str, object]) -> str:
    return f"'{min(left.keys() ^ right.keys())}' is in only one of them"
