"""State that a resumed run reads from its files and records, in every mode and from older versions."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import torch

from lori_cl.adapters import Site, draw_projections, sparse_adapter
from lori_cl.errors import CapacityExhausted, RunConflict
from lori_cl.evaluation.loaded_run import load_run
from lori_cl.evaluation.stage_file import read_stage
from lori_cl.masks import Mask
from lori_cl.methods import METHODS, StageState
from lori_cl.methods.lori.stage import RANK, LoRIStage
from lori_cl.registry import Run, Workspace
from lori_cl.training import RunOptions

TrainRun = Callable[..., Run]
Scores = Callable[..., dict]

PLAIN = {"rank": 4, "alpha": 8}
PER_TASK = {**PLAIN, "projection": "per-task"}
NULL_SPACE = {**PLAIN, "projection": "null-space", "null_space": {"max_directions": 3}}
GROWING = {"adapter": {**PLAIN, "grow": 2}, "masks": {"strategy": "random", "density": 0.6}}


def remove_projection_fields(workspace: Workspace) -> None:
    """Remove every registry field that was added with projections per stage."""
    with closing(sqlite3.connect(workspace.root / "registry.db")) as database, database:
        for number, text in database.execute("SELECT id, curriculum FROM runs").fetchall():
            record = json.loads(text)
            for field in ("composition", "grow", "null_space"):
                del record["adapter"][field]
            for field in ("budget", "granularity", "overlap", "freeze"):
                del record["masks"][field]
            database.execute("UPDATE runs SET curriculum = ? WHERE id = ?", (json.dumps(record), number))
        for number, text in database.execute("SELECT id, seeds FROM stages").fetchall():
            seeds = {k: v for k, v in json.loads(text).items() if k not in {"projection", "probe"}}
            database.execute("UPDATE stages SET seeds = ? WHERE id = ?", (json.dumps(seeds), number))
        database.execute('UPDATE masks SET "rank" = NULL, projection = NULL, directions = NULL')


def test_run_of_an_earlier_version_is_read_and_resumes_bit_identically(
    train_run: TrainRun, workspace: Workspace
) -> None:
    uninterrupted = train_run("a", "b", name="at-once")
    train_run("a", name="old")
    remove_projection_fields(workspace)
    with workspace.read() as registry:
        old = registry.run("old")
        assert (old.rank, old.free_cells) == (4, 448 - 45)
        assert load_run(workspace, registry, "old").weights([]).scaling == 2.0
    continued = train_run("a", "b", name="old")
    assert continued.stages[1].mask == uninterrupted.stages[1].mask
    assert continued.stages[1].final_loss == uninterrupted.stages[1].final_loss
    assert continued.curriculum == uninterrupted.curriculum


def test_stage_of_an_earlier_version_uses_the_rank_of_the_adapter() -> None:
    mask = {"site": torch.tensor([[True, False, True, False]])}
    stage = LoRIStage(Mask(mask), {"site": torch.tensor([1.0, 2.0])})
    tensors = stage.to_tensors()
    del tensors[RANK]
    restored = LoRIStage.from_state(StageState("a", tensors, {}), [Site("site", 3, 1, 4)])
    assert (restored.rank, restored.projections, dict(restored.inputs)) == (4, None, {})
    assert torch.equal(restored.mask.by_site["site"], mask["site"])


def test_stage_round_trips_through_its_tensors() -> None:
    stage = LoRIStage(
        Mask({"one": torch.tensor([[True, False, True]]), "two": torch.zeros(2, 3, dtype=torch.bool)}),
        {"one": torch.tensor([1.0, 2.0])},
        {"one": torch.rand(3, 5), "two": torch.rand(3, 5)},
        {("one", "two"): torch.rand(5, 2)},
    )
    restored = LoRIStage.from_state(
        StageState("a", stage.to_tensors(), {"projection": 7}), [Site("one", 5, 1, 2), Site("two", 5, 2, 2)]
    )
    assert restored.seed == 7
    assert restored.mask.digest() == stage.mask.digest()
    assert restored.values.keys() == {"one"}
    assert restored.projections is not None is not stage.projections
    assert all(torch.equal(restored.projections[site], a) for site, a in stage.projections.items())
    assert torch.equal(restored.inputs["one", "two"], stage.inputs["one", "two"])


@pytest.mark.parametrize("mode", [{"adapter": PER_TASK}, GROWING, {}], ids=["per-task", "growing", "shared"])
def test_run_whose_projections_are_drawn_differently_is_neither_resumed_nor_loaded(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, mode: dict[str, Any]
) -> None:
    run = train_run("a", "b", **mode)
    original = sparse_adapter.draw_projection

    def one_bit_off(seed: int, site: str, *rest: Any) -> Any:
        drawn = original(seed, site, *rest)
        if mode is not GROWING or "[" in site:  # the rows added by growth
            drawn.view("uint32")[0, 0] ^= 1
        return drawn

    monkeypatch.setattr(sparse_adapter, "draw_projection", one_bit_off)
    changed_stage = run.stages[1 if mode is GROWING else 0]
    assert changed_stage.mask is not None
    assert changed_stage.mask.projection is not None
    with pytest.raises(RunConflict, match=changed_stage.mask.projection[:16]):
        train_run("a", "b", "c", **mode)
    with (
        workspace.read() as registry,
        pytest.raises(RunConflict, match=f"projections of '{changed_stage.task}'"),
    ):
        load_run(workspace, registry, "run")


@pytest.mark.parametrize(
    "mode",
    [
        {"adapter": NULL_SPACE},
        {"adapter": PER_TASK},
        {"masks": {"strategy": "gradient", "density": 0.4, "overlap": "allow"}},
        {"masks": {"strategy": "random", "density": 0.6, "overlap": "allow", "freeze": False}},
    ],
    ids=["null-space", "per-task", "overlapping", "continued"],
)
def test_bf16_base_keeps_float32_values_and_isolation_in_every_mode(
    train_run: TrainRun, scores: Scores, workspace: Workspace, tiny_encoder: Any, mode: dict[str, Any]
) -> None:
    model = {"path": str(tiny_encoder), "dtype": "bfloat16"}
    uninterrupted = train_run("a", "b", name="at-once", model=model, **mode)
    train_run("a", name="run", model=model, **mode)
    run = train_run("a", "b", name="run", model=model, options=RunOptions(measure_all=True), **mode)
    assert [s.mask for s in run.stages] == [s.mask for s in uninterrupted.stages]
    assert [s.final_loss for s in run.stages] == [s.final_loss for s in uninterrupted.stages]
    for stage in run.stages:
        tensors, _ = read_stage(workspace.artifacts.get(stage.artifact, "safetensors"))
        floats = {key: t for key, t in tensors.items() if t.is_floating_point()}
        assert {t.dtype for t in floats.values()} == {torch.float32}
        assert any(bool(t.any()) for key, t in floats.items() if key.startswith("values/"))
    assert len({scores()[stage, "a", "as_trained"].outcomes for stage in (1, 2)}) == 1
    assert len({scores()[stage, "a", "as_trained"].input_digest for stage in (1, 2)}) == 1


@pytest.mark.parametrize("projection", ["shared", "per-task", "orthogonal", "null-space"])
def test_run_without_active_stages_equals_its_base(
    train_run: TrainRun, workspace: Workspace, projection: str
) -> None:
    train_run("a", adapter=NULL_SPACE if projection == "null-space" else {**PLAIN, "projection": projection})
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, "run")
    assert not any(b.any() for b in loaded.weights([]).b.values())
    assert any(bool(b.any()) for b in loaded.weights(loaded.acting("a")).b.values())


def test_omitting_a_stage_from_the_history_does_not_change_the_others(
    train_run: TrainRun, workspace: Workspace
) -> None:
    """After a task is retired, the other stages' cells, projections and ranks come from their own files."""
    for adapter in (PLAIN, PER_TASK, GROWING["adapter"]):
        name = f"run-{adapter.get('projection')}-{adapter.get('grow')}"
        train_run("a", "b", name=name, adapter=adapter, masks={"strategy": "random", "density": 0.5})
        with workspace.read() as registry:
            loaded = load_run(workspace, registry, name)
        first, second = loaded.history
        alone, both = loaded.weights([second]), loaded.weights([first, second])
        only_first = loaded.weights([first])
        for site in both.a:
            torch.testing.assert_close(both.delta(site), alone.delta(site) + only_first.delta(site))


def test_growth_resumes_at_the_rank_that_the_run_has_reached(train_run: TrainRun) -> None:
    run = train_run("a", "b", **GROWING)
    assert [stage.mask.rank for stage in run.stages if stage.mask] == [4, 6]
    grown = train_run("a", "b", "c", **GROWING)
    assert [stage.mask.rank for stage in grown.stages if stage.mask] == [4, 6, 8]
    assert grown.free_cells == 2 * 448 - 3 * round(0.6 * 448)


def test_even_budget_is_the_same_after_an_interruption(
    train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    even = {"masks": {"strategy": "random", "budget": "even"}}
    uninterrupted = train_run("a", "b", "c", name="whole", **even)
    original, ended_tasks = METHODS["lori"].end_stage, []

    def fail_in_the_second_stage(self: Any, context: Any) -> Any:
        ended_tasks.append(context.task)
        if len(ended_tasks) == 2:
            raise KeyboardInterrupt
        return original(self, context)

    with monkeypatch.context() as patch:
        patch.setattr(METHODS["lori"], "end_stage", fail_in_the_second_stage)
        with pytest.raises(KeyboardInterrupt):
            train_run("a", "b", "c", name="broken", **even)
    resumed = train_run("a", "b", "c", name="broken", **even)
    assert [s.mask for s in resumed.stages] == [s.mask for s in uninterrupted.stages]
    assert [s.final_loss for s in resumed.stages] == [s.final_loss for s in uninterrupted.stages]


def test_task_appended_after_an_even_budget_was_spent_is_refused(
    train_run: TrainRun, workspace: Workspace
) -> None:
    even = {"masks": {"strategy": "random", "budget": "even"}}
    train_run("a", "b", **even)
    with pytest.raises(CapacityExhausted, match=r"'c' needs 1 cells; 0 of 448 are free") as caught:
        train_run("a", "b", "c", **even)
    assert "density" not in str(caught.value)
    assert "grow" not in str(caught.value)
    with workspace.read() as registry:
        assert [task.label for task in registry.run("run").tasks] == ["a", "b"]


def test_null_space_projection_uses_the_stored_directions(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a", adapter=NULL_SPACE)
    run = train_run("a", "b", adapter=NULL_SPACE)
    first, second = (read_stage(workspace.artifacts.get(s.artifact, "safetensors"))[0] for s in run.stages)
    with workspace.read() as registry:
        sites = load_run(workspace, registry, "run").method._adapter.sites  # type: ignore[attr-defined]
    drawn = draw_projections(sites, run.stages[1].seeds["projection"], "uniform")
    for key, taken in ((k, t) for k, t in first.items() if k.startswith("inputs/")):
        for site in key.removeprefix("inputs/").split(","):
            a = second[f"A/{site}"]
            assert (a @ taken).abs().max() < 1e-6
            torch.testing.assert_close(a.norm(dim=1), drawn[site].norm(dim=1))
            # Only the part within the directions is removed; the rest keeps its drawn direction.
            rest = drawn[site] - drawn[site] @ taken @ taken.T
            torch.testing.assert_close(
                torch.cosine_similarity(a, rest), torch.ones(a.shape[0]), atol=1e-5, rtol=0
            )


def test_changed_energy_cannot_resume_the_run(train_run: TrainRun) -> None:
    train_run("a", adapter=NULL_SPACE)
    with pytest.raises(RunConflict, match=r"adapter\.null_space\.energy = 0\.95 \(now 0\.9\)"):
        train_run("a", "b", adapter={**NULL_SPACE, "null_space": {"max_directions": 3, "energy": 0.9}})


def test_mask_record_of_the_registry_keeps_rank_projection_and_directions(
    train_run: TrainRun, workspace: Workspace
) -> None:
    run = train_run("a", adapter=NULL_SPACE)
    with workspace.read() as registry:
        stored_mask = registry.run("run").stages[0].mask
    assert stored_mask is not None
    assert stored_mask == run.stages[0].mask
    assert stored_mask.rank == 4
    assert stored_mask.projection is not None
    assert set((stored_mask.directions or {}).values()) == {3}
    assert len(stored_mask.directions or {}) == 6
