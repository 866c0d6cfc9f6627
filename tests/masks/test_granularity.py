"""Which sites compete with each other, and how many cells each group gets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lori_cl.masks import GRANULARITIES, STRATEGIES, Evidence, Ledger, Mask, allocate
from lori_cl.masks.allocation import shares
from lori_cl.masks.granularity import groups_of_sites
from lori_cl.masks.mask import Shapes

BERT = [
    f"encoder.layer.{layer}.{part}"
    for layer in range(2)
    for part in ("attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense")
]
LLAMA = [
    f"model.layers.{layer}.{part}"
    for layer in range(2)
    for part in ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")
]
GPT2 = [
    f"transformer.h.{layer}.{part}"
    for layer in range(2)
    for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
]
OUTSIDE = "pooler.dense"
"""A site outside the layers."""


def cells_of_groups(shapes: Shapes, granularity: str) -> list[Tensor]:
    """Return the cells of each group as indices in the whole model."""
    cells = torch.arange(Ledger(shapes).cells).split([out * rank for out, rank in shapes.values()])
    of_site = dict(zip(shapes, cells, strict=True))
    return [torch.cat([of_site[site] for site in group]) for group in groups_of_sites(shapes, granularity)]


@pytest.mark.parametrize("sites", [BERT, LLAMA, GPT2], ids=["bert", "llama", "gpt2"])
def test_sites_are_grouped_by_their_names(sites: list[str]) -> None:
    first, second = sites[:4], sites[4:]
    assert groups_of_sites(sites, "model") == [sites]
    assert groups_of_sites(sites, "module") == [[*first[:2], *second[:2]], [*first[2:], *second[2:]]]
    assert groups_of_sites(sites, "projection") == [[a, b] for a, b in zip(first, second, strict=True)]
    assert groups_of_sites(sites, "layer") == [first, second]
    assert groups_of_sites(sites, "matrix") == [[site] for site in sites]


def test_sites_with_equal_last_names_are_different_projections() -> None:
    ends = [site.rsplit(".", 1)[1] for site in BERT[:4]]
    assert ends.count("dense") == 3
    assert len(groups_of_sites(BERT[:4], "projection")) == 4


@pytest.mark.parametrize("granularity", ["projection", "layer", "matrix"])
def test_site_outside_the_layers_is_a_group_of_its_own(granularity: str) -> None:
    assert [OUTSIDE] in groups_of_sites([*BERT, OUTSIDE], granularity)


def test_layer_numbers_of_two_digits_are_read_completely() -> None:
    sites = ["model.layers.1.mlp.up_proj", "model.layers.11.mlp.up_proj"]
    assert groups_of_sites(sites, "layer") == [[sites[0]], [sites[1]]]
    assert groups_of_sites(sites, "projection") == [sites]


def test_experts_belong_to_their_layer() -> None:
    sites = [f"model.layers.{layer}.mlp.experts.{e}.up_proj" for layer in range(2) for e in range(3)]
    assert groups_of_sites(sites, "layer") == [sites[:3], sites[3:]]
    assert groups_of_sites(sites, "projection") == [sites]


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_every_cell_is_in_exactly_one_group_and_groups_are_ascending(granularity: str) -> None:
    shapes = {site: (number % 3 + 1, 2) for number, site in enumerate([*LLAMA, OUTSIDE])}
    groups = cells_of_groups(shapes, granularity)
    assert torch.cat(groups).sort().values.tolist() == list(range(Ledger(shapes).cells))
    assert all(group.tolist() == sorted(group.tolist()) for group in groups)
    assert [int(group[0]) for group in groups] == sorted(int(group[0]) for group in groups)


@st.composite
def divisions(draw: st.DrawFn) -> tuple[list[int], list[int], int]:
    """Cells per group, free cells per group, and the number of cells to assign."""
    cells = draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=12))
    free = [draw(st.integers(0, size)) for size in cells]
    return cells, free, draw(st.integers(0, sum(free)))


@given(division=divisions())
def test_shares_add_up_and_never_exceed_the_free_cells_of_a_group(
    division: tuple[list[int], list[int], int],
) -> None:
    cells, free, k = division
    allocated = shares(cells, free, k)
    assert sum(allocated) == k
    assert all(0 <= share <= limit for share, limit in zip(allocated, free, strict=True))
    assert shares(cells, free, k) == allocated


@given(cells=st.lists(st.integers(1, 10**6), min_size=1, max_size=12), part=st.integers(0, 1000))
def test_without_scarcity_every_share_is_within_one_of_its_proportion(cells: list[int], part: int) -> None:
    k = sum(cells) * part // 1000
    for share, size in zip(shares(cells, cells, k), cells, strict=True):
        assert abs(share * sum(cells) - k * size) < sum(cells)


@given(division=divisions())
def test_groups_with_room_left_get_shares_in_proportion_to_their_cells(
    division: tuple[list[int], list[int], int],
) -> None:
    cells, free, k = division
    allocated = shares(cells, free, k)
    open_groups = [g for g in range(len(cells)) if allocated[g] < free[g]]
    for g in open_groups:
        for other in range(len(cells)):
            # No full group got a larger share of its cells than a group with room left, up to rounding.
            assert allocated[other] * cells[g] <= (allocated[g] + 1) * cells[other] + cells[g]


@pytest.mark.parametrize(
    ("cells", "free", "k", "divided"),
    [
        ([50, 25, 25], [50, 25, 25], 7, [3, 2, 2]),  # 3.5, 1.75, 1.75
        ([10, 10, 10], [10, 10, 10], 4, [2, 1, 1]),  # ties go to the first group
        (
            [10, 10, 10],
            [1, 10, 10],
            9,
            [1, 4, 4],
        ),  # cells that do not fit into the first group are divided again
        ([10, 10, 10], [0, 10, 0], 10, [0, 10, 0]),
        ([97, 1, 1, 1], [97, 1, 1, 1], 1, [1, 0, 0, 0]),
    ],
)
def test_shares_match_hand_computed_values(
    cells: list[int], free: list[int], k: int, divided: list[int]
) -> None:
    assert shares(cells, free, k) == divided


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_and_granularity_gives_exactly_k_free_cells(strategy: str, granularity: str) -> None:
    shapes: Shapes = {site: (number + 2, 3) for number, site in enumerate([*BERT, OUTSIDE])}
    ledger = Ledger(shapes)
    generator = torch.Generator().manual_seed(3)
    for task in range(3):
        evidence = Evidence(
            ledger.cells,
            seed=task,
            calibrated_b=torch.randn(ledger.cells, generator=generator),
            gradients=torch.rand(ledger.cells, generator=generator),
        )
        k = ledger.free_cells if task == 2 else 41
        mask = allocate(ledger, f"task{task}", STRATEGIES[strategy].score(evidence), k, granularity)
        assert mask.count() == k
        assert not (mask.flat() & ~ledger.free()).any()
        ledger = ledger.claim(f"task{task}", mask)
    assert ledger.free_cells == 0


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_best_free_cells_of_a_group_are_selected_and_ties_go_to_the_lower_index(
    granularity: str,
) -> None:
    shapes: Shapes = dict.fromkeys([*GPT2, OUTSIDE], (4, 3))
    taken = torch.arange(Ledger(shapes).cells) % 5 == 0
    ledger = Ledger(shapes).claim("before", Mask.from_flat(taken, shapes))
    scores = torch.randint(3, (ledger.cells,), generator=torch.Generator().manual_seed(0)).double()
    chosen = allocate(ledger, "task", scores, 30, granularity).flat()
    for group in cells_of_groups(shapes, granularity):
        count = int(chosen[group].sum())
        candidates = [cell for cell in group.tolist() if not taken[cell]]
        best = sorted(candidates, key=lambda cell: (-scores[cell].item(), cell))[:count]
        assert group[chosen[group]].tolist() == sorted(best)


def test_finer_granularity_prevents_one_high_scoring_site_from_taking_all_cells() -> None:
    shapes: Shapes = dict.fromkeys(LLAMA, (10, 2))
    scores = torch.zeros(160)
    scores[:20] = 1.0
    by_site = {
        granularity: allocate(Ledger(shapes), "task", scores, 16, granularity).count_by_site()
        for granularity in ("model", "layer", "matrix")
    }
    assert by_site["model"][LLAMA[0]] == 16
    assert by_site["layer"][LLAMA[0]] == by_site["layer"][LLAMA[4]] == 8
    assert set(by_site["matrix"].values()) == {2}
