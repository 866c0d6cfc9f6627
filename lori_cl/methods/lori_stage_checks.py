"""Check that the tensors of a file form a valid LoRI stage; its digest only shows that it is unmodified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lori_cl.adapters import Projections, Site
from lori_cl.errors import ArtifactDamaged
from lori_cl.masks import Mask

VALUE_TYPES = (torch.float32, torch.bfloat16)
"""The dtypes that `adapter.kept_in` allows."""


def check_rank(rank: Tensor, sites: Sequence[Site]) -> int:
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


def check_values(values: Mapping[str, Tensor], mask: Mask) -> None:
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


def check_projections(projections: Projections, sites: Sequence[Site], rank: int) -> None:
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


def check_inputs(inputs: Mapping[tuple[str, ...], Tensor], sites: Sequence[Site]) -> None:
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
