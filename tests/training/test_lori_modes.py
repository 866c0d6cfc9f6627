"""Every projection, composition and mask setting keeps the guarantees of the default."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lori_cl.errors import CapacityExhausted
from lori_cl.evaluation.stage_file import read_stage
from lori_cl.methods.lori import method as lori
from lori_cl.registry import Run, Workspace
from lori_cl.reports import capacity_of
from lori_cl.runtime import SilentProgress
from lori_cl.serving.retire import retire_task
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.training import RunOptions, run_curriculum
from tests.nightly import only_in_ci

TrainRun = Callable[..., Run]
Scores = Callable[..., dict]

PLAIN = {"rank": 4, "alpha": 8}
MODES: dict[str, dict[str, Any]] = {
    "per-task": {"adapter": {**PLAIN, "projection": "per-task"}},
    "orthogonal": {"adapter": {**PLAIN, "projection": "orthogonal"}},
    "null-space": {"adapter": {**PLAIN, "projection": "null-space", "null_space": {"max_directions": 4}}},
    "isolated": {"adapter": {**PLAIN, "composition": "isolated"}},
    "isolated per-task": {"adapter": {**PLAIN, "composition": "isolated", "projection": "per-task"}},
    "overlapping": {"masks": {"strategy": "random", "density": 0.6, "overlap": "allow"}},
    "the paper's": {"masks": {"density": 0.6, "overlap": "allow", "freeze": False}},
    "dense": {"masks": {"density": 1.0, "overlap": "allow"}},
    "gradient": {"masks": {"strategy": "gradient", "density": 0.2}},
    "by layer": {"masks": {"density": 0.2, "granularity": "layer"}},
    "even": {"masks": {"strategy": "random", "budget": "even"}},
    "stored in bfloat16": {"adapter": {**PLAIN, "kept_in": "bfloat16"}},
    "growing": {
        "adapter": {**PLAIN, "grow": 2},
        "masks": {"strategy": "random", "density": 0.45},
    },
}

NIGHTLY = ("isolated per-task", "overlapping", "dense", "gradient", "by layer")
"""Modes that share their code with another mode; their trials run in the nightly job."""
TRIED = only_in_ci(MODES.keys() - set(NIGHTLY), MODES)


def tensors_of(workspace: Workspace, run: Run) -> Sequence[dict[str, Tensor]]:
    return [read_stage(workspace.artifacts.get(s.artifact, "safetensors"))[0] for s in run.stages]


@pytest.mark.parametrize("mode", TRIED)
def test_as_trained_scores_never_change_in_any_mode(train_run: TrainRun, scores: Scores, mode: str) -> None:
    train_run("a", "b", "c", options=RunOptions(measure_all=True), **MODES[mode])
    found = scores()
    for task, learned in (("a", 1), ("b", 2)):
        column = [found[stage, task, "as_trained"] for stage in range(learned, 4)]
        assert {e.source for e in column} == {"measured"}
        assert len({e.outcomes for e in column}) == len({e.input_digest for e in column}) == 1


@pytest.mark.parametrize(
    "mode",
    [mode for mode in TRIED if mode.values != ("even",)],  # its budget depends on the planned tasks
)
def test_resumed_run_matches_uninterrupted_run_in_any_mode(train_run: TrainRun, mode: str) -> None:
    uninterrupted = train_run("a", "b", "c", name="at-once", **MODES[mode])
    train_run("a", "b", name="step-by-step", **MODES[mode])
    step_by_step = train_run("a", "b", "c", name="step-by-step", **MODES[mode])
    assert [s.mask for s in step_by_step.stages] == [s.mask for s in uninterrupted.stages]
    assert [s.final_loss for s in step_by_step.stages] == [s.final_loss for s in uninterrupted.stages]


def test_per_task_projections_differ_between_tasks(train_run: TrainRun) -> None:
    for projection in ("per-task", "orthogonal", "null-space"):
        run = train_run("a", "b", "c", name=projection, **MODES[projection])
        assert run.projection is not None
        assert run.projection.digest is None
        assert len({stage.mask.projection for stage in run.stages if stage.mask}) == 3


def test_task_versions_have_their_own_projections(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> None:
    for fields in ({}, {"description": "another version"}):
        register_tasks(workspace, [write_task("a", **fields)])
    spec = load_curriculum(write_curriculum("a@1", "a@2", **MODES["orthogonal"]))
    run = run_curriculum(workspace, spec, "run", RunOptions(), SilentProgress())
    assert len({stage.mask.projection for stage in run.stages if stage.mask}) == 2


def test_orthogonal_projections_are_orthogonal_to_all_earlier_ones(
    train_run: TrainRun, workspace: Workspace
) -> None:
    tensors = tensors_of(workspace, train_run("a", "b", "c", **MODES["orthogonal"]))
    sites = [key for key in tensors[0] if key.startswith("A/")]
    assert len(sites) == 6
    for site in sites:
        for later in (1, 2):
            for earlier in range(later):
                product = tensors[later][site] @ tensors[earlier][site].T
                assert product.abs().max() < 1e-6
                assert tensors[later][site].norm(dim=1).min() > 0.3  # rows keep their norm


def test_null_space_projections_are_orthogonal_to_directions_of_earlier_tasks(
    train_run: TrainRun, workspace: Workspace
) -> None:
    run = train_run("a", "b", "c", **MODES["null-space"])
    tensors = tensors_of(workspace, run)
    keys = [key for key in tensors[0] if key.startswith("inputs/")]
    assert sum(key.count(",") + 1 for key in keys) == 6
    assert any(key.count(",") == 2 for key in keys), "query, key and value share one input"
    for key in keys:
        taken = torch.cat([tensors[0][key], tensors[1][key]], dim=1)
        torch.testing.assert_close(taken.T @ taken, torch.eye(taken.shape[1]), atol=1e-5, rtol=0)
        for site in key.removeprefix("inputs/").split(","):
            assert (tensors[1][f"A/{site}"] @ tensors[0][key]).abs().max() < 1e-6
            assert (tensors[2][f"A/{site}"] @ taken).abs().max() < 1e-6
    assert run.stages[0].mask is not None
    assert max((run.stages[0].mask.directions or {}).values()) == 4


def test_moments_are_the_same_when_gathered_layer_by_layer(
    train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted = train_run("a", "b", name="at-once", **MODES["null-space"])
    monkeypatch.setattr(lori, "site_batches", lambda sites: [[site.name] for site in sites])
    site_by_site = train_run("a", "b", name="site-by-site", **MODES["null-space"])
    assert [s.mask for s in site_by_site.stages] == [s.mask for s in uninterrupted.stages]
    assert [s.final_loss for s in site_by_site.stages] == [s.final_loss for s in uninterrupted.stages]


def test_stage_is_refused_before_training_if_a_site_has_no_directions_left(
    train_run: TrainRun, workspace: Workspace
) -> None:
    adapter = {**PLAIN, "projection": "null-space", "null_space": {"energy": 1.0}}
    with pytest.raises(CapacityExhausted, match=r"task 'b' needs 4 free input directions .* of 16 left"):
        train_run("a", "b", adapter=adapter)
    with workspace.read() as registry:
        assert [stage.task for stage in registry.run("run").stages] == ["a"]


def test_orthogonal_projections_that_will_not_fit_are_refused_at_the_start(
    train_run: TrainRun, workspace: Workspace
) -> None:
    with pytest.raises(CapacityExhausted, match=r"task 'c' needs 7 free input directions .* has 2 of 16"):
        train_run("a", "b", "c", adapter={"rank": 7, "alpha": 8, "projection": "orthogonal"})
    with workspace.read() as registry:
        assert registry.runs() == []


def test_orthogonal_projections_are_checked_at_their_grown_ranks(
    train_run: TrainRun, workspace: Workspace
) -> None:
    grows = {"rank": 5, "alpha": 8, "grow": 2, "projection": "orthogonal"}
    with pytest.raises(CapacityExhausted, match=r"task 'c' needs 7 free input directions .* has 6 of 16"):
        train_run("a", "b", "c", adapter=grows, masks={"strategy": "random", "density": 0.45})
    with workspace.read() as registry:
        assert registry.runs() == []


def test_inputs_of_a_retired_task_stay_excluded_while_a_later_task_remains(
    train_run: TrainRun, workspace: Workspace
) -> None:
    adapter = {**PLAIN, "projection": "null-space", "null_space": {"max_directions": 4}}
    settings = {"adapter": {**adapter, "composition": "isolated"}}
    train_run("a", "b", **settings)
    retire_task(workspace, "run", "a")
    run = train_run("a", "b", "c", **settings)
    of_a, _, of_c = tensors_of(workspace, run)
    earlier_directions = {
        key.removeprefix("inputs/"): u for key, u in of_a.items() if key.startswith("inputs/")
    }
    assert sum(u.shape[1] for u in earlier_directions.values()) > 0
    for sites, u in earlier_directions.items():
        for site in sites.split(","):
            assert (of_c[f"A/{site}"] @ u).abs().max() < 1e-5
    capacity = capacity_of(run)
    assert capacity is not None
    assert all(set(site.inputs_taken) == {"a", "b", "c"} for site in capacity.by_site.values())


def test_isolated_task_is_scored_with_its_own_cells_alone(train_run: TrainRun, scores: Scores) -> None:
    train_run("a", "b", name="both", **MODES["isolated"])
    train_run("b", name="alone", **MODES["isolated"])
    both, alone = scores("both"), scores("alone")
    assert both[2, "b", "as_trained"].outcomes == alone[1, "b", "as_trained"].outcomes
    assert both[2, "b", "current"].input_digest != both[2, "b", "as_trained"].input_digest


def test_even_budget_assigns_every_cell(train_run: TrainRun) -> None:
    run = train_run("a", "b", "c", **MODES["even"])
    assert [stage.mask.cells for stage in run.stages if stage.mask] == [149, 149, 150]
    assert run.free_cells == 0


def test_growing_the_adapter_changes_no_earlier_cell(train_run: TrainRun, workspace: Workspace) -> None:
    run = train_run("a", "b", "c", **MODES["growing"])
    assert [stage.mask.rank for stage in run.stages if stage.mask] == [4, 4, 6]
    assert run.rank == 6
    assert run.free_cells == 448 * 6 // 4 - 3 * round(0.45 * 448)
    digests = [stage.mask.projection for stage in run.stages if stage.mask]
    assert digests[0] == digests[1] != digests[2]


def test_paper_protocol_carries_b_on_between_tasks(train_run: TrainRun, workspace: Workspace) -> None:
    first, second = tensors_of(
        workspace, train_run("a", "b", masks={"density": 1.0, "overlap": "allow", "freeze": False})
    )
    site = next(key for key in first if key.startswith("values/"))
    change = (second[site] - first[site]).abs()
    assert 0 < change.max() < first[site].abs().max() * 2
    assert torch.corrcoef(torch.stack([first[site], second[site]]))[0, 1] > 0.3


def test_overlapping_frozen_cells_add_up(train_run: TrainRun, scores: Scores) -> None:
    train_run("a", "b", masks={"density": 1.0, "overlap": "allow"}, options=RunOptions(measure_all=True))
    found = scores()
    assert found[2, "b", "as_trained"].input_digest == found[2, "b", "current"].input_digest
    assert found[1, "a", "as_trained"].input_digest == found[2, "a", "as_trained"].input_digest


def test_values_stored_in_bfloat16_are_rounded_before_scoring(
    train_run: TrainRun, workspace: Workspace, scores: Scores
) -> None:
    exact = tensors_of(workspace, train_run("a", name="exact"))[0]
    run = train_run("a", name="rounded", **MODES["stored in bfloat16"])
    stored = tensors_of(workspace, run)[0]
    for key in (key for key in exact if key.startswith("values/")):
        assert stored[key].dtype == torch.bfloat16
        assert torch.equal(stored[key], exact[key].bfloat16())
    digests = [scores(name)[1, "a", "as_trained"].input_digest for name in ("exact", "rounded")]
    assert digests[0] != digests[1]
