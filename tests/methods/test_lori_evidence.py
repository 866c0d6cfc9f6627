"""Evidence that a method gathers besides training is reproducible and changes nothing."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from lori_cl.errors import TrainingDiverged
from lori_cl.masks import STRATEGIES, Evidence, Mask
from lori_cl.methods.lori import LoRI
from lori_cl.methods.lori import evidence as lori_evidence
from lori_cl.methods.lori import method as lori
from lori_cl.methods.lori.evidence import gather_evidence
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.spec import CalibrationSpec, TrainSpec, load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.training import RunOptions, run_curriculum
from lori_cl.training.training_job import TrainingJob, losses

TrainRun = Callable[..., Run]

FOUR = TrainSpec(batch_size=4)
PLAIN = {"rank": 4, "alpha": 8}
NULL_SPACE = {**PLAIN, "projection": "null-space", "null_space": {"max_directions": 3}}


def digests(run: Run) -> list[str]:
    return [stage.artifact for stage in run.stages]


class Learner(nn.Module):
    """A Linear followed by dropout and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.dropout, self.head = nn.Linear(3, 5), nn.Dropout(0.5), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": self.head(self.dropout(self.inner(x))).square().mean()}


@pytest.fixture
def other_workspace(tmp_path: Path) -> Workspace:
    """A second workspace, which shares no file with the first."""
    other = Workspace(tmp_path / "other")
    other.create()
    return other


def job(n: int = 10) -> TrainingJob:
    learner = Learner().train()
    fields = [{"x": torch.full((3,), float(i))} for i in range(n)]

    def collate(batch: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {"x": torch.stack([field["x"] for field in batch])}

    return TrainingJob("trial", learner, learner.head, fields, collate, epochs=1.0, lr=0.1, seed=0)


def generators() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()


def test_computing_losses_changes_no_weight_gradient_or_global_generator() -> None:
    trial = job()
    weights, before = {k: v.clone() for k, v in trial.learner.state_dict().items()}, generators()
    for loss in losses(trial, FOUR, 10, seed=1):
        loss.backward()
    assert generators() == before
    assert all(torch.equal(value, weights[key]) for key, value in trial.learner.state_dict().items())
    assert [p.grad for p in trial.learner.parameters()] == [None] * 4


def test_interrupted_loss_iteration_leaves_no_gradient() -> None:
    trial = job()
    batch_losses: Iterator[Tensor] = losses(trial, FOUR, 10, seed=1)
    next(batch_losses).backward()
    assert trial.learner.head.weight.grad is not None  # type: ignore[union-attr]
    batch_losses.close()  # type: ignore[attr-defined]
    assert [p.grad for p in trial.learner.parameters()] == [None] * 4


def test_seed_determines_the_examples_used_for_losses() -> None:
    trial = job()
    losses_by_seed = [[loss.item() for loss in losses(trial, FOUR, 6, seed)] for seed in (1, 1, 2)]
    assert losses_by_seed[0] == losses_by_seed[1] != losses_by_seed[2]


@pytest.mark.parametrize(("examples", "batches"), [(1, 1), (4, 1), (6, 2), (10, 3), (99, 3)])
def test_number_of_loss_batches_is_limited_by_the_examples(examples: int, batches: int) -> None:
    assert len(list(losses(job(), FOUR, examples, seed=0))) == batches


class Layer(GradientCheckpointingLayer):
    """A transformers layer with dropout that counts its forward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.runs, self.cached = nn.Linear(3, 3), 0, []

    def forward(self, x: Tensor, past_key_values: list[int] | None = None) -> Tensor:
        self.runs += 1
        self.cached.append(past_key_values)
        return functional.dropout(self.inner(x).tanh(), 0.5, training=self.training)


class Deep(nn.Module):
    """A model of two counting layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(), Layer()])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for layer in self.layers:
            x = layer(x, past_key_values=[])
        return {"loss": x.square().mean()}


def test_checkpointing_recomputes_layers_and_gives_the_same_gradients() -> None:
    gradients = []
    for checkpointing, runs in ((False, 1), (True, 2)):
        torch.manual_seed(0)
        trial = replace(job(), learner=Deep(), head=None)
        for loss in losses(
            trial, FOUR.model_copy(update={"gradient_checkpointing": checkpointing}), 4, seed=1
        ):
            loss.backward()
            gradients.append([p.grad for p in trial.learner.parameters()])
        assert [layer.runs for layer in trial.learner.layers] == [runs, runs]  # type: ignore[union-attr]
        caches = [cache for layer in trial.learner.layers for cache in layer.cached]  # type: ignore[union-attr]
        assert all((cache is None) == checkpointing for cache in caches)
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_layers_run_once_without_gradients_and_after_the_loss_iteration() -> None:
    trial = replace(job(), learner=Deep(), head=None)
    settings = FOUR.model_copy(update={"gradient_checkpointing": True})
    with torch.no_grad():
        list(losses(trial, settings, 4, seed=1))
    next(losses(trial, settings, 4, seed=1)).backward()
    trial.learner(torch.ones(1, 3))["loss"].backward()
    assert [layer.runs for layer in trial.learner.layers] == [1 + 2 + 1] * 2  # type: ignore[union-attr]


def test_gradients_are_computed_in_the_precision_of_training() -> None:
    seen: list[torch.dtype] = []
    trial = job()
    trial.learner.dropout.register_forward_pre_hook(lambda _, x: seen.append(x[0].dtype))  # type: ignore[union-attr]
    for precision in ("fp32", "bf16"):
        next(losses(trial, FOUR.model_copy(update={"precision": precision}), 4, seed=1))
    assert seen == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize(
    "mode",
    [
        {"masks": {"strategy": "gradient", "density": 0.2}},
        {"adapter": NULL_SPACE},
        {"adapter": NULL_SPACE, "masks": {"strategy": "gradient", "density": 0.2, "granularity": "matrix"}},
    ],
    ids=["gradient", "null-space", "both"],
)
def test_same_command_is_bit_identical_whatever_the_global_random_state(
    train_run: TrainRun, other_workspace: Workspace, mode: dict[str, Any]
) -> None:
    first = digests(train_run("a", "b", **mode))
    torch.manual_seed(4711)
    torch.rand(17)
    assert digests(train_run("a", "b", **mode, into=other_workspace)) == first


def test_computing_gradients_before_a_stage_does_not_change_its_training(
    train_run: TrainRun, other_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = digests(train_run("a", "b"))
    original = LoRI._scores
    gathered_gradients = []

    def gradients_first(self: LoRI, context: Any, ledger: Any, k: int) -> Tensor:
        free = Mask.from_flat(ledger.free(), ledger.shapes)
        evidence = gather_evidence(
            STRATEGIES["gradient"],
            context,
            self._adapter,
            free,
            lambda mask: self._open(context, mask),
            CalibrationSpec(),
            0.1,
        )
        gathered_gradients.append(evidence.gradients)
        return original(self, context, ledger, k)

    monkeypatch.setattr(LoRI, "_scores", gradients_first)
    assert digests(train_run("a", "b", into=other_workspace)) == plain
    assert all(bool(gradients.any()) for gradients in gathered_gradients)


def test_gathering_inputs_after_a_stage_does_not_change_the_next_stage(
    train_run: TrainRun, other_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = digests(train_run("a", "b"))
    original = LoRI.end_stage
    gathered = []

    def gather_inputs_too(self: LoRI, context: Any) -> Any:
        gathered.append(self._gather_inputs(context))
        return original(self, context)

    monkeypatch.setattr(LoRI, "end_stage", gather_inputs_too)
    assert digests(train_run("a", "b", into=other_workspace)) == plain
    assert all(gathered)


def test_taken_cells_have_no_gradient_score(train_run: TrainRun, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    original = lori.gather_evidence

    def record(*arguments: Any) -> Evidence:
        evidence, free = original(*arguments), arguments[3]
        found.append((evidence.gradients, free.flat()))
        return evidence

    monkeypatch.setattr(lori, "gather_evidence", record)
    train_run("a", "b", masks={"strategy": "gradient", "density": 0.3})
    scores, free = found[1]
    assert int((~free).sum()) == round(0.3 * 448)
    assert not scores[~free].any()
    assert bool((scores[free] > 0).any())


def test_nan_gradients_are_refused_before_cells_are_selected(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.nn.functional.cross_entropy
    # The square root has an infinite slope at 0, so the loss is finite and its gradient is not.
    monkeypatch.setattr(
        torch.nn.functional, "cross_entropy", lambda z, y: real(z, y) + (0.0 * z).square().sum().sqrt()
    )
    with pytest.raises(TrainingDiverged, match=r"task 'a': before training, the loss of batch 1 is 0\.\d+"):
        train_run("a", masks={"strategy": "gradient"})
    with workspace.read() as registry:
        assert registry.run("run").stages == ()


def test_site_without_inputs_scores_zero() -> None:
    mask = Mask({"read": torch.tensor([[True, False]]), "idle": torch.tensor([[True], [True]])})
    assert lori_evidence._expand({"read": torch.tensor([5.0])}, mask).tolist() == [5.0, 0.0, 0.0, 0.0]


def test_calibration_is_skipped_when_every_free_cell_is_claimed(
    train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lori, "gather_evidence", lambda *_: pytest.fail("calibrated"))
    run = train_run("a", masks={"strategy": "magnitude", "density": 1.0})
    assert run.stages[0].mask is not None
    assert run.stages[0].mask.cells == 448


def test_checkpointed_causal_lm_trains_with_null_space_and_gradient_masks(
    workspace: Workspace,
    tiny_causal_lm: Path,
    write_task: Callable[..., Path],
    write_curriculum: Callable[..., Path],
) -> None:
    register_tasks(workspace, [write_task(task, prompt="{{ text }} is") for task in ("a", "b")])
    train = {"epochs": 1, "batch_size": 8, "lr": 0.01, "max_length": 16}
    runs = []
    for checkpointing in (False, True):
        file = write_curriculum(
            "a",
            "b",
            model={"path": str(tiny_causal_lm)},
            adapter=NULL_SPACE,
            masks={"strategy": "gradient", "density": 0.2, "granularity": "module"},
            train={**train, "gradient_checkpointing": checkpointing},
        )
        spec = load_curriculum(file)
        runs.append(run_curriculum(workspace, spec, f"{checkpointing}", RunOptions(), SilentProgress()))
    first, second = (run.stages[1].mask for run in runs)
    assert first is not None is not second
    assert first == second
    assert first.directions is not None
    assert len(first.directions) == 7  # q, k, v, o, gate, up, down
    attention = sum(n for site, n in first.by_site.items() if "attn" in site)
    assert abs(attention / first.cells - (16 + 8 + 8 + 16) / (16 + 8 + 8 + 16 + 32 + 32 + 16)) < 0.02
