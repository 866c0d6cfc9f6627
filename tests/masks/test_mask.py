from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lori_cl.masks import Mask
from lori_cl.masks.mask import Shapes
from tests.attempts import refusal_of

from .shapes import cells_of, shapes


@st.composite
def flat_masks(draw: st.DrawFn) -> tuple[Tensor, Shapes]:
    sites = draw(shapes)
    cells = cells_of(sites)
    return torch.tensor(draw(st.lists(st.booleans(), min_size=cells, max_size=cells))), sites


@given(drawn=flat_masks())
def test_packing_a_mask_round_trips(drawn: tuple[Tensor, Shapes]) -> None:
    flat, sites = drawn
    unpacked = Mask.from_packed(Mask.from_flat(flat, sites).packed(), sites)
    assert torch.equal(unpacked.flat(), flat)
    assert unpacked.digest() == Mask.from_flat(flat, sites).digest()


@given(drawn=flat_masks())
def test_splitting_a_mask_into_sites_keeps_every_cell_position(drawn: tuple[Tensor, Shapes]) -> None:
    flat, sites = drawn
    mask = Mask.from_flat(flat, sites)
    assert {site: tuple(part.shape) for site, part in mask.by_site.items()} == sites
    assert torch.equal(mask.flat(), flat)
    assert mask.count() == int(flat.sum()) == sum(mask.count_by_site().values())


@given(drawn=flat_masks(), where=st.integers(0, 10**6))
def test_one_flipped_cell_changes_the_digest(drawn: tuple[Tensor, Shapes], where: int) -> None:
    flat, sites = drawn
    flipped = flat.clone()
    flipped[where % len(flat)] ^= True
    assert Mask.from_flat(flipped, sites).digest() != Mask.from_flat(flat, sites).digest()


def test_packed_mask_stores_eight_cells_per_byte_lowest_bit_first() -> None:
    mask = Mask({"a": torch.tensor([[True, False, False], [False, False, False], [False, True, True]])})
    assert mask.packed()["a"].tolist() == [0b1000_0001, 0b1]


def test_same_cells_at_a_different_site_have_a_different_digest() -> None:
    cells = torch.tensor([[True, False]])
    assert Mask({"a": cells}).digest() != Mask({"b": cells}).digest()


def test_same_bits_in_a_different_shape_have_a_different_digest() -> None:
    cells = torch.tensor([[True, False, False, True]])
    assert Mask({"a": cells}).digest() != Mask({"a": cells.view(2, 2)}).digest()


def test_counts_are_given_per_site() -> None:
    mask = Mask({"a": torch.ones(2, 3, dtype=torch.bool), "b": torch.zeros(4, 1, dtype=torch.bool)})
    assert mask.count_by_site() == {"a": 6, "b": 0}


def test_widened_mask_has_the_same_cells_in_its_own_memory() -> None:
    narrow = Mask({"a": torch.tensor([[True, False], [False, True]])})
    wide = narrow.widened({"a": (2, 3)})
    assert wide.by_site["a"].tolist() == [[True, False, False], [False, True, False]]
    wide.by_site["a"].zero_()
    assert narrow.count() == 2


@given(drawn=flat_masks(), data=st.data())
def test_any_bytes_unpack_to_their_mask_or_are_refused(
    drawn: tuple[Tensor, Shapes], data: st.DataObject
) -> None:
    flat, sites = drawn
    packed = Mask.from_flat(flat, sites).packed()
    site = data.draw(st.sampled_from(sorted(packed)))
    packed[site] = torch.tensor(list(data.draw(st.binary(max_size=7))), dtype=torch.uint8)
    masks: list[Mask] = []
    refused = refusal_of(lambda: masks.append(Mask.from_packed(packed, sites)))
    out, rank = sites[site]
    if refused is None:
        assert torch.equal(masks[0].packed()[site], packed[site])
        assert masks[0].by_site[site].shape == (out, rank)
    else:
        assert f"the mask of {site} " in refused
