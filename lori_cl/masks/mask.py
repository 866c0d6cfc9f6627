"""A mask: the cells owned by one task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from lori_cl import digest
from lori_cl.errors import ArtifactDamaged

Shapes = Mapping[str, tuple[int, int]]
"""Each site's (out, r). The order defines the number of each cell in the whole model."""


@dataclass(frozen=True)
class Mask:
    """Cells of the whole model, as one bool (out, r) per site."""

    by_site: Mapping[str, Bool[Tensor, "out r"]]

    @classmethod
    def from_flat(cls, flat: Bool[Tensor, "cells"], shapes: Shapes) -> Mask:
        """Split one vector over all cells by site."""
        parts = torch.split(flat, [out * rank for out, rank in shapes.values()])
        return cls(
            {site: part.view(shape) for (site, shape), part in zip(shapes.items(), parts, strict=True)}
        )

    @classmethod
    def from_packed(cls, packed: Mapping[str, UInt8[Tensor, "bytes"]], shapes: Shapes) -> Mask:
        """Create a mask from the output of `packed`.

        Raises: ArtifactDamaged, if the bits do not fit these shapes.
        """
        if packed.keys() != shapes.keys():
            site = min(packed.keys() ^ shapes.keys())
            raise ArtifactDamaged(
                f"the mask does not match the adapter's sites: '{site}' is in only one of them"
            )
        by_site = {}
        for site, (out, rank) in shapes.items():
            _check_bits(site, packed[site], out * rank)
            bits = np.unpackbits(packed[site].numpy(), count=out * rank, bitorder="little")
            by_site[site] = torch.from_numpy(bits.astype(bool)).view(out, rank)
        return cls(by_site)

    def widened(self, shapes: Shapes) -> Mask:
        """Return the same cells in an adapter with these shapes, which may have more columns of B."""
        by_site = {}
        for site, mask in self.by_site.items():
            wide = torch.zeros(shapes[site], dtype=torch.bool)
            wide[:, : mask.shape[1]] = mask
            by_site[site] = wide
        return Mask(by_site)

    def packed(self) -> dict[str, UInt8[Tensor, "bytes"]]:
        """Return the mask as bits: eight cells per byte, row-major, the first cell in the lowest bit."""
        return {
            site: torch.from_numpy(np.packbits(mask.flatten().numpy(), bitorder="little"))
            for site, mask in self.by_site.items()
        }

    def flat(self) -> Bool[Tensor, "cells"]:
        """Return one vector over all cells, site after site, row-major."""
        return torch.cat([mask.flatten() for mask in self.by_site.values()])

    @property
    def rank(self) -> int:
        """Number of columns of B that the mask covers."""
        return next(iter(self.by_site.values())).shape[1]

    def count(self) -> int:
        """Return the number of cells in the mask."""
        return sum(self.count_by_site().values())

    def count_by_site(self) -> dict[str, int]:
        """Return the number of cells in the mask at each site."""
        return {site: int(mask.count_nonzero()) for site, mask in self.by_site.items()}

    def digest(self) -> str:
        """Return the SHA-256 of site names, shapes and packed bits."""
        return digest.of_named(
            (site, "mask", tuple(self.by_site[site].shape), bits.numpy().data)
            for site, bits in self.packed().items()
        )


def _check_bits(site: str, packed: Tensor, cells: int) -> None:
    """Check that there is one bit per cell, and no bit set after the last cell."""
    if packed.dtype != torch.uint8 or packed.shape != (-(-cells // 8),):
        found = f"{packed.numel():,} values of {packed.dtype}"
        raise ArtifactDamaged(f"the mask of {site} has {found} for {cells:,} cells")
    if cells % 8 and int(packed[-1]) >> cells % 8:
        raise ArtifactDamaged(f"the mask of {site} has bits set after its {cells:,} cells")
