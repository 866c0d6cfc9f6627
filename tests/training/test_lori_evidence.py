"""What a method looks at beside the training: it changes nothing, and gives the same bits every time."""

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
from lori_cl.methods import lori, lori_evidence
from lori_cl.methods.lori import LoRI
from lori_cl.methods.lori_evidence import gather_evidence
from lori_cl.registry import Run, Workspace
from lori_cl.spec import CalibrationSpec, TrainSpec, load_curriculum
from lori_cl.training import RunOptions, SilentObserver, enrol, run_curriculum
from lori_cl.training.lesson import Lesson, losses

Learn = Callable[..., Run]

FOUR = TrainSpec(batch_size=4)
PLAIN = {"rank": 4, "alpha": 8}
NULL_SPACE = {**PLAIN, "projection": "null-space", "null_space": {"max_directions": 3}}


def digests(run: Run) -> list[str]:
    return [stage.artifact for stage in run.stages]


class Learner(nn.Module):
    """A Linear before a head, with dropout between them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.dropout, self.head = nn.Linear(3, 5), nn.Dropout(0.5), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": self.head(self.dropout(self.inner(x))).square().mean()}


def lesson(n: int = 10) -> Lesson:
    learner = Learner().train()
    fields = [{"x": torch.full((3,), float(i))} for i in range(n)]

    def collate(batch: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {"x": torch.stack([field["x"] for field in batch])}

    return Lesson("trial", learner, learner.head, fields, collate, epochs=1.0, lr=0.1, seed=0)


def generators() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()


def test_looking_at_losses_moves_no_weight_no_gradient_and_no_global_generator() -> None:
    trial = lesson()
    weights, before = {k: v.clone() for k, v in trial.learner.state_dict().items()}, generators()
    for loss in losses(trial, FOUR, 10, seed=1):
        loss.backward()
    assert generators() == before
    assert all(torch.equal(value, weights[key]) for key, value in trial.learner.state_dict().items())
    assert [p.grad for p in trial.learner.parameters()] == [None] * 4


def test_a_look_that_is_broken_off_leaves_no_gradient_either() -> None:
    trial = lesson()
    look: Iterator[Tensor] = losses(trial, FOUR, 10, seed=1)
    next(look).backward()
    assert trial.learner.head.weight.grad is not None  # type: ignore[union-attr]
    look.close()  # type: ignore[attr-defined]
    assert [p.grad for p in trial.learner.parameters()] == [None] * 4


def test_the_same_examples_are_looked_at_for_a_seed_and_others_for_another() -> None:
    trial = lesson()
    looks = [[loss.item() for loss in losses(trial, FOUR, 6, seed)] for seed in (1, 1, 2)]
    assert looks[0] == looks[1] != looks[2]


@pytest.mark.parametrize(("examples", "batches"), [(1, 1), (4, 1), (6, 2), (10, 3), (99, 3)])
def test_no_more_batches_are_looked_at_than_hold_the_examples(examples: int, batches: int) -> None:
    assert len(list(losses(lesson(), FOUR, examples, seed=0))) == batches


class Layer(GradientCheckpointingLayer):
    """A layer as transformers has them, with dropout of its own; it counts how often it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.runs, self.cached = nn.Linear(3, 3), 0, []

    def forward(self, x: Tensor, past_key_values: list[int] | None = None) -> Tensor:
        self.runs += 1
        self.cached.append(past_key_values)
        return functional.dropout(self.inner(x).tanh(), 0.5, training=self.training)


class Deep(nn.Module):
    """Two such layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(), Layer()])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for layer in self.layers:
            x = layer(x, past_key_values=[])
        return {"loss": x.square().mean()}


def test_with_checkpointing_layers_run_again_in_backward_and_give_the_same_gradients() -> None:
    gradients = []
    for checkpointing, runs in ((False, 1), (True, 2)):
        torch.manual_seed(0)
        trial = replace(lesson(), learner=Deep(), head=None)
        for loss in losses(
            trial, FOUR.model_copy(update={"gradient_checkpointing": checkpointing}), 4, seed=1
        ):
            loss.backward()
            gradients.append([p.grad for p in trial.learner.parameters()])
        assert [layer.runs for layer in trial.learner.layers] == [runs, runs]  # type: ignore[union-attr]
        caches = [cache for layer in trial.learner.layers for cache in layer.cached]  # type: ignore[union-attr]
        assert all((cache is None) == checkpointing for cache in caches)
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_where_no_gradient_is_wanted_and_after_the_look_layers_run_once() -> None:
    trial = replace(lesson(), learner=Deep(), head=None)
    settings = FOUR.model_copy(update={"gradient_checkpointing": True})
    with torch.no_grad():
        list(losses(trial, settings, 4, seed=1))
    next(losses(trial, settings, 4, seed=1)).backward()
    trial.learner(torch.ones(1, 3))["loss"].backward()
    assert [layer.runs for layer in trial.learner.layers] == [1 + 2 + 1] * 2  # type: ignore[union-attr]


def test_gradients_are_looked_at_in_the_precision_of_training() -> None:
    seen: list[torch.dtype] = []
    trial = lesson()
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
def test_the_same_command_gives_the_same_bits_whatever_was_drawn_before(
    learn: Learn, tmp_path: Path, mode: dict[str, Any]
) -> None:
    other = Workspace(tmp_path / "other")
    other.create()
    first = digests(learn("a", "b", **mode))
    torch.manual_seed(4711)
    torch.rand(17)
    assert digests(learn("a", "b", **mode, into=other)) == first


def test_looking_at_gradients_before_a_stage_changes_nothing_of_its_training(
    learn: Learn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Workspace(tmp_path / "other")
    other.create()
    plain = digests(learn("a", "b"))
    sound = LoRI._scores
    looked = []

    def look_first(self: LoRI, context: Any, ledger: Any, k: int) -> Tensor:
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
        looked.append(evidence.gradients)
        return sound(self, context, ledger, k)

    monkeypatch.setattr(LoRI, "_scores", look_first)
    assert digests(learn("a", "b", into=other)) == plain
    assert all(bool(gradients.any()) for gradients in looked)


def test_gathering_inputs_after_a_stage_changes_nothing_of_the_next(
    learn: Learn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Workspace(tmp_path / "other")
    other.create()
    plain = digests(learn("a", "b"))
    sound = LoRI.end_stage
    gathered = []

    def gather_too(self: LoRI, context: Any) -> Any:
        gathered.append(self._gather_inputs(context))
        return sound(self, context)

    monkeypatch.setattr(LoRI, "end_stage", gather_too)
    assert digests(learn("a", "b", into=other)) == plain
    assert all(gathered)


def test_cells_that_are_taken_have_no_gradient_score(learn: Learn, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    sound = lori.gather_evidence

    def record(*arguments: Any) -> Evidence:
        evidence, free = sound(*arguments), arguments[3]
        found.append((evidence.gradients, free.flat()))
        return evidence

    monkeypatch.setattr(lori, "gather_evidence", record)
    learn("a", "b", masks={"strategy": "gradient", "density": 0.3})
    scores, free = found[1]
    assert int((~free).sum()) == round(0.3 * 448)
    assert not scores[~free].any()
    assert bool((scores[free] > 0).any())


def test_gradients_that_are_no_numbers_choose_no_cells(
    learn: Learn, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.nn.functional.cross_entropy
    # The root of 0 has an infinite slope, so the loss is finite and its gradient is not.
    monkeypatch.setattr(
        torch.nn.functional, "cross_entropy", lambda z, y: real(z, y) + (0.0 * z).square().sum().sqrt()
    )
    with pytest.raises(TrainingDiverged, match=r"task 'a': before training, the loss of batch 1 is 0\.\d+"):
        learn("a", masks={"strategy": "gradient"})
    with workspace.read() as registry:
        assert registry.run("run").stages == ()


def test_a_site_that_nothing_was_read_from_scores_zero() -> None:
    mask = Mask({"read": torch.tensor([[True, False]]), "idle": torch.tensor([[True], [True]])})
    assert lori_evidence._spread({"read": torch.tensor([5.0])}, mask).tolist() == [5.0, 0.0, 0.0, 0.0]


def test_where_every_free_cell_is_claimed_nothing_is_calibrated(
    learn: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lori, "gather_evidence", lambda *_: pytest.fail("calibrated"))
    run = learn("a", masks={"strategy": "magnitude", "density": 1.0})
    assert run.stages[0].mask is not None
    assert run.stages[0].mask.cells == 448


def test_a_causal_model_with_checkpointing_learns_under_null_space_as_and_gradient_masks(
    workspace: Workspace,
    tiny_causal_lm: Path,
    write_task: Callable[..., Path],
    write_curriculum: Callable[..., Path],
) -> None:
    enrol(workspace, [write_task(task, prompt="{{ text }} is") for task in ("a", "b")])
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
        runs.append(run_curriculum(workspace, spec, f"{checkpointing}", RunOptions(), SilentObserver()))
    first, second = (run.stages[1].mask for run in runs)
    assert first is not None is not second
    assert first == second
    assert first.directions is not None
    assert len(first.directions) == 7  # q, k, v, o, gate, up, down
    attention = sum(n for site, n in first.by_site.items() if "attn" in site)
    assert abs(attention / first.cells - (16 + 8 + 8 + 16) / (16 + 8 + 8 + 16 + 32 + 32 + 16)) < 0.02
