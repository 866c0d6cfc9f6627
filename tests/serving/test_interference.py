from collections.abc import Callable
from functools import partial

import pytest
import torch

from lori_cl.adapters import LoRAWeights, delta_cosine, output_energy, projection_cosines
from lori_cl.evaluation import load_run
from lori_cl.methods.lori.projections import site_batches
from lori_cl.registry import Run, Workspace
from lori_cl.serving.interference import SiteInterference, TaskPair, interference, rank_correlation
from lori_cl.serving.merge import own_weights
from lori_cl.serving.retire import retire_task

TrainRun = Callable[..., Run]
PLAIN = {"rank": 4, "alpha": 8}


def weights(seed: int, rank: int = 3) -> LoRAWeights:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, 7, generator=generator), torch.randn(5, rank, generator=generator)
    return LoRAWeights({"site": a}, {"site": b}, 2.0)


def pairs_of(workspace: Workspace, name: str = "run") -> dict[tuple[str, str], TaskPair]:
    with workspace.read() as registry:
        found = interference(load_run(workspace, registry, name), registry.evaluations(name))
    return {(pair.earlier, pair.later): pair for pair in found}


def test_delta_cosine_equals_the_cosine_of_the_dense_updates() -> None:
    one, other = weights(0), weights(1, rank=4)
    dense = torch.cosine_similarity(one.delta("site").flatten(), other.delta("site").flatten(), dim=0)
    assert delta_cosine(one, other, "site") == pytest.approx(float(dense), abs=1e-6)
    assert delta_cosine(one, one, "site") == pytest.approx(1.0)


def test_output_energy_equals_the_squared_output_on_the_inputs() -> None:
    inputs = torch.randn(11, 7, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    out = inputs @ weights(0).delta("site").double().T
    assert output_energy(weights(0), "site", inputs.T @ inputs) == pytest.approx(float(out.square().sum()))


def test_projection_cosines_are_one_for_shared_and_zero_for_orthogonal_directions() -> None:
    rows = torch.eye(7)
    one, other = LoRAWeights({"s": rows[:2]}, {}, 1.0), LoRAWeights({"s": rows[1:4]}, {}, 1.0)
    torch.testing.assert_close(projection_cosines(one, other, "s"), torch.tensor([1.0, 0.0]).double())


def test_shared_projection_and_disjoint_cells_are_reported(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a", "b", "c")
    pairs = pairs_of(workspace)
    assert set(pairs) == {("a", "b"), ("a", "c"), ("b", "c")}
    for pair in pairs.values():
        assert len(pair.sites) == 6
        assert all(site.angles == pytest.approx([1.0] * 4) and site.shared_cells == 0 for site in pair.sites)
        assert pair.ratio > 0
        assert pair.change is not None


def test_null_space_updates_have_little_effect_on_earlier_inputs(
    train_run: TrainRun, workspace: Workspace
) -> None:
    null_space_adapter = {
        **PLAIN,
        "projection": "null-space",
        "null_space": {"energy": 0.999, "max_directions": 8},
    }
    train = {"epochs": 4, "batch_size": 4, "lr": 0.05, "max_length": 16}
    train_run("a", "b", name="shared", train=train)
    train_run("a", "b", name="null-space", adapter=null_space_adapter, train=train)
    ratios = {name: pairs_of(workspace, name)["a", "b"].ratio for name in ("shared", "null-space")}
    assert ratios["null-space"] < 0.5 * ratios["shared"]


@pytest.mark.usefixtures("two_tasks")
def test_memory_limit_does_not_change_the_interference(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_one_pass = {site.site: site for site in pairs_of(workspace)["a", "b"].sites}
    monkeypatch.setattr("lori_cl.serving.interference.site_batches", partial(site_batches, limit_bytes=1))
    in_many_passes = pairs_of(workspace)["a", "b"].sites
    assert {site.site: site for site in in_many_passes} == in_one_pass


def test_overlapping_masks_share_cells(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a", "b", masks={"density": 1.0, "overlap": "allow"})
    assert sum(site.shared_cells or 0 for site in pairs_of(workspace)["a", "b"].sites) > 400


def test_cells_in_a_grown_rank_are_not_shared_with_earlier_tasks(
    train_run: TrainRun, workspace: Workspace
) -> None:
    train_run("a", "b", adapter={**PLAIN, "grow": 2}, masks={"strategy": "random", "density": 0.7})
    assert sum(site.shared_cells or 0 for site in pairs_of(workspace)["a", "b"].sites) == 0


def test_tasks_of_a_plain_lora_own_no_cells_to_share(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a", "b", method="sequential-lora", masks={})
    assert {site.shared_cells for site in pairs_of(workspace)["a", "b"].sites} == {None}


def test_update_of_a_task_on_shared_cells_is_the_difference(
    train_run: TrainRun, workspace: Workspace
) -> None:
    train_run("a", "b", masks={"density": 0.6, "overlap": "allow", "freeze": False})
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, "run")
    first, second, both = loaded.update(0), loaded.update(1), loaded.weights(loaded.acting("b"))
    for site in both.b:
        torch.testing.assert_close(first.delta(site) + second.delta(site), both.delta(site))
        torch.testing.assert_close(own_weights(loaded, 1).delta(site), second.delta(site))


def test_update_of_a_plain_lora_stage_is_the_difference_of_two_stages(
    train_run: TrainRun, workspace: Workspace
) -> None:
    train_run("a", "b", method="sequential-lora", masks={})
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, "run")
    first, both = (loaded.weights(loaded.acting(task)) for task in ("a", "b"))
    for site in first.a:
        torch.testing.assert_close(loaded.update(1).delta(site), both.delta(site) - first.delta(site))


@pytest.mark.usefixtures("two_tasks")
def test_score_change_caused_by_a_retirement_is_not_attributed_to_later_tasks(
    train_run: TrainRun, workspace: Workspace
) -> None:
    retire_task(workspace, "run", "a", force=True)
    train_run("a", "b", "c")
    changes = {pair: of.change for pair, of in pairs_of(workspace).items()}
    assert changes["a", "b"] is not None
    assert changes["a", "c"] is changes["b", "c"] is None


def test_record_contains_all_principal_angles_of_two_projections(
    train_run: TrainRun, workspace: Workspace
) -> None:
    train_run("a", "b", adapter={**PLAIN, "projection": "per-task"})
    for site in pairs_of(workspace)["a", "b"].to_record()["sites"]:
        assert len(site["angles"]) == 4
        assert 1 > site["angles"][0] >= site["angles"][-1] >= 0


def test_rank_correlation_relates_ratio_and_score_loss() -> None:
    def pair(ratio: float, change: float | None) -> TaskPair:
        return TaskPair("a", "b", [SiteInterference("s", 0.0, [0.0], 0, ratio)], change)

    pairs = [pair(0.1, 0.0), pair(0.5, -0.1), pair(0.9, -0.3)]
    assert rank_correlation(pairs) == (pytest.approx(1.0), len(pairs))
    assert rank_correlation(pairs[:2]) is None
    assert rank_correlation([*pairs[:2], pair(0.9, None)]) is None
