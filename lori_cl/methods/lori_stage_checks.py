"""Whether the tensors of a file are those of a stage of LoRI; its digest says only that nobody changed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lori_cl.adapters import Projections, Site
from lori_cl.errors import ArtifactDamaged
from lori_cl.masks import Mask

VALUE_TYPES = (torch.float32, torch.bfloat16)
"""What `adapter.kept_in` allows."""


def check_rank(rank: Tensor, sites: Sequence[Site]) -> int:
    """The rank that a file says the adapter had; it grows, and never shrinks.

    Raises: ArtifactDamaged.
    """
    if rank.shape != () or rank.dtype != torch.int64:
        raise ArtifactDamaged(f"its rank is {_said(rank)}, and no whole number")
    if int(rank) < sites[0].rank:
        raise ArtifactDamaged(f"its rank is {int(rank):,}, and the adapter began with {sites[0].rank:,}")
    return int(rank)


def check_values(values: Mapping[str, Tensor], mask: Mask) -> None:
    """Make sure that every cell of the mask has a finite value, and nothing else has.

    Raises: ArtifactDamaged, naming the site.
    """
    cells = {site: count for site, count in mask.count_by_site().items() if count}
    if values.keys() != cells.keys():
        raise ArtifactDamaged(f"the sites of its mask and of its values differ: {_odd(values, cells)}")
    for site, of in values.items():
        if of.shape != (cells[site],):
            raise ArtifactDamaged(f"{site} has {cells[site]:,} cells and {_said(of)} for their values")
        _check_numbers(f"a value of {site}", of, VALUE_TYPES)


def check_projections(projections: Projections, sites: Sequence[Site], rank: int) -> None:
    """Make sure that there is an A (rank, d_in) of finite numbers for every site.

    Raises: ArtifactDamaged, naming the site.
    """
    by_name = {site.name: site for site in sites}
    if projections.keys() != by_name.keys():
        raise ArtifactDamaged(f"its A's are not those of the adapter's sites: {_odd(projections, by_name)}")
    for name, a in projections.items():
        if a.shape != (rank, by_name[name].in_features):
            raise ArtifactDamaged(
                f"the A of {name} is {_said(a)} and should be {(rank, by_name[name].in_features)}"
            )
        _check_numbers(f"a number in the A of {name}", a, (torch.float32,))


def check_inputs(inputs: Mapping[tuple[str, ...], Tensor], sites: Sequence[Site]) -> None:
    """Make sure that the directions (d_in, k) are those of sites that there are, and finite.

    Raises: ArtifactDamaged, naming the sites.
    """
    widths = {site.name: site.in_features for site in sites}
    for names, directions in inputs.items():
        wide = {widths.get(name) for name in names}
        if directions.dim() != 2 or wide != {directions.shape[0]}:
            raise ArtifactDamaged(f"the input directions of {', '.join(names)} are {_said(directions)}")
        _check_numbers(f"an input direction of {', '.join(names)}", directions, (torch.float32,))


def _check_numbers(what: str, tensor: Tensor, types: Sequence[torch.dtype]) -> None:
    if tensor.dtype not in types:
        raise ArtifactDamaged(f"{what} is kept as {tensor.dtype}")
    if not bool(tensor.isfinite().all()):
        raise ArtifactDamaged(f"{what} is not finite")


def _said(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {tensor.dtype}"


def _odd(left: Mapping[str, object], right: Mapping[str, object]) -> str:
    return f"'{min(left.keys() ^ right.keys())}' is in one of them only"
