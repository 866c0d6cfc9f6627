"""The projection A of each stage, and the errors when no free directions are left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from lori_cl.adapters import InputMoments, Projections, Site, draw_projections
from lori_cl.errors import CapacityExhausted, InputError
from lori_cl.masks import Mask
from lori_cl.methods.lori.projections import Projector, site_batches
from lori_cl.methods.lori.stage import LoRIStage
from lori_cl.spec import AdapterSpec

SITES = (Site("q", 12, 5, 3), Site("k", 12, 5, 3), Site("down", 20, 4, 3))


def projector(projection: str, **null_space: float) -> Projector:
    settings = {"rank": 3, "alpha": 6, "projection": projection, "null_space": null_space}
    spec = AdapterSpec.model_validate(settings)
    return Projector(SITES, spec, seed=5, drawn=draw_projections(SITES, 5, spec.distribution))


def stage(
    projections: Projections | None = None,
    inputs: Mapping[tuple[str, ...], Tensor] | None = None,
    rank: int = 3,
    seed: int = 1,
) -> LoRIStage:
    nothing = {site.name: torch.zeros(site.out_features, rank, dtype=torch.bool) for site in SITES}
    return LoRIStage(Mask(nothing), {}, projections, inputs or {}, seed)


def directions(d_in: int, first: int, count: int) -> Tensor:
    return torch.eye(d_in)[:, first : first + count]


def in_all(count: int) -> Mapping[tuple[str, ...], Tensor]:
    return {("q", "k"): directions(12, 0, count), ("down",): directions(20, 0, count)}


def fresh(source: Projector, history: Sequence[LoRIStage]) -> Projections:
    inputs = [each.inputs for each in history]
    return source.new_projections("late", history, inputs, seed=77, rank=3)


def test_first_null_space_a_excludes_the_protected_texts() -> None:
    texts, drawn = in_all(4), draw_projections(SITES, 77, "uniform")
    made = projector("null-space").new_projections("first", [], [texts], seed=77, rank=3)
    for site, a in made.items():
        assert a[:, :4].abs().max() < 1e-7
        torch.testing.assert_close(a.norm(dim=1), drawn[site].norm(dim=1))


def test_moments_are_gathered_in_passes_that_fit_memory_and_split_no_layer() -> None:
    def layer(number: int) -> list[Site]:
        return [Site(f"layers.{number}.{name}", width, 5, 3) for name, width in (("q", 10), ("down", 20))]

    sites = [*layer(0), *layer(1), *layer(2), Site("head", 10, 5, 3)]
    one_layer = 8 * (10**2 + 20**2)
    names = [[site.name for site in layer(number)] for number in range(3)]
    assert site_batches(sites, 2 * one_layer) == [names[0] + names[1], [*names[2], "head"]]
    assert site_batches(sites, 1) == [*names, ["head"]]
    assert site_batches(sites) == [[site.name for site in sites]]


def test_orthogonal_a_that_repeats_an_earlier_seed_is_refused() -> None:
    with pytest.raises(InputError, match=r"within the directions that it must exclude.*set another seed"):
        fresh(projector("orthogonal"), [stage(draw_projections(SITES, 77, "uniform"))])


@pytest.mark.parametrize("projection", ["per-task", "orthogonal", "null-space"])
def test_first_task_uses_the_a_drawn_from_its_seed(projection: str) -> None:
    drawn = draw_projections(SITES, 77, "uniform")
    for site, a in fresh(projector(projection), []).items():
        assert torch.equal(a, drawn[site])


def test_shared_a_is_drawn_once_for_each_rank() -> None:
    shared = projector("shared")
    assert shared.shared([], 3) is shared.shared([stage()], 3) is fresh(shared, [stage(), stage()])
    assert torch.equal(shared.shared([], 5)["q"][:3], shared.shared([], 3)["q"])


def test_imported_a_is_kept_and_grows_by_drawn_rows() -> None:
    imported = {site.name: torch.rand(3, site.in_features) for site in SITES}
    source, stages = projector("shared"), [stage(imported), stage(rank=5)]
    assert source.of_stage(stages, 0) is source.shared(stages[:1], 3) is imported
    grown = source.of_stage(stages, 1)
    assert torch.equal(grown["q"][:3], imported["q"])
    assert torch.equal(grown["q"][3:], source.shared([], 5)["q"][3:])


def test_stage_uses_its_stored_a_or_draws_one_from_its_seed_at_its_rank() -> None:
    own = {site.name: torch.rand(3, site.in_features) for site in SITES}
    assert projector("orthogonal").of_stage([stage(own)], 0) is own
    drawn = projector("per-task").of_stage([stage(), stage(rank=4)], 1)
    assert torch.equal(drawn["down"], draw_projections(SITES, 1, "uniform", grown_rows=1)["down"])


def test_orthogonal_a_is_orthogonal_to_all_earlier_ones_of_any_rank() -> None:
    earlier = [draw_projections(SITES, seed, "normal", rows) for seed, rows in ((1, 0), (2, 2))]
    made = fresh(projector("orthogonal"), [stage(each) for each in earlier])
    for site in SITES:
        for each in earlier:
            assert (made[site.name] @ each[site.name].T).abs().max() < 1e-6


def test_null_space_a_is_orthogonal_only_to_earlier_inputs_of_its_own_site() -> None:
    history = [
        stage(inputs={("q", "k"): directions(12, 0, 2)}),
        stage(inputs={("q", "k"): directions(12, 2, 3), ("down",): directions(20, 4, 1)}),
    ]
    made, drawn = fresh(projector("null-space"), history), draw_projections(SITES, 77, "uniform")
    for site in ("q", "k"):
        assert made[site][:, :5].abs().max() < 1e-7
        assert bool((made[site][:, 5:] != 0).all())
    assert made["down"][:, 4].abs().max() < 1e-7
    for site, a in made.items():
        torch.testing.assert_close(a.norm(dim=1), drawn[site].norm(dim=1))


@pytest.mark.parametrize(
    ("settings", "taken", "needed"),
    [({}, 10, 3), ({"min_free": 4}, 9, 4), ({"min_free": 1}, 12, 1)],
    ids=["the rank", "more", "fewer"],
)
def test_task_with_too_few_free_directions_is_refused_with_site_and_numbers(
    settings: dict[str, float], taken: int, needed: int
) -> None:
    source = projector("null-space", **settings)
    fresh(source, [stage(inputs=in_all(12 - needed))])
    message = f"'late' needs {needed} free input directions at every site; q has {12 - taken} of 12 left"
    with pytest.raises(CapacityExhausted, match=message):
        fresh(source, [stage(inputs=in_all(taken))])


def test_a_with_fewer_free_directions_than_rows_is_still_finite_and_orthogonal() -> None:
    made = fresh(projector("null-space", min_free=1), [stage(inputs=in_all(11))])
    assert bool(made["q"].isfinite().all())
    assert made["q"][:, :11].abs().max() < 1e-7


def test_directions_for_orthogonal_projections_are_checked_before_drawing() -> None:
    source = projector("orthogonal")
    four = dict.fromkeys("1234", 3)
    source.check_capacity(four, taken=0)
    with pytest.raises(CapacityExhausted, match=r"'fifth' needs 3 .* q has 0 of 12"):
        source.check_capacity({**four, "fifth": 3}, taken=0)
    with pytest.raises(CapacityExhausted, match="'fifth'"):
        source.check_capacity({"fifth": 3}, taken=12)


def test_site_with_too_few_inputs_for_a_second_task_is_refused_before_the_first() -> None:
    source = projector("null-space", min_free=13)
    source.check_capacity({"first": 3}, taken=0)
    message = (
        r"'second' needs 13 .* q has 12 of 12 left. Start a new run with a lower adapter.null_space.min_free"
    )
    with pytest.raises(CapacityExhausted, match=message):
        source.check_capacity({"first": 3, "second": 3}, taken=0)


def test_directions_for_orthogonal_projections_are_checked_at_the_grown_ranks() -> None:
    source = projector("orthogonal")
    with pytest.raises(CapacityExhausted, match=r"'third' needs 5 .* q has 4 of 12"):
        source.check_capacity({"first": 3, "second": 5, "third": 5}, taken=0)


def test_sites_with_a_shared_input_take_directions_together_and_only_once() -> None:
    moments = InputMoments()
    for begin in range(2):  # two passes
        moments.begin_forward(None)
        x = torch.eye(12)[begin : begin + 1].expand(4, 12).clone()
        moments.add("q", x)
        moments.add("k", x)
        moments.add("down", torch.ones(4, 20))
    source = projector("null-space", energy=1.0)
    first = source.new_directions([], moments)
    assert {sites: u.shape[1] for sites, u in first.items()} == {("q", "k"): 2, ("down",): 1}
    repeated = source.new_directions([first], moments)
    assert {sites: u.shape[1] for sites, u in repeated.items()} == {("q", "k"): 0, ("down",): 0}
    assert {u.dtype for u in first.values()} == {torch.float32}
