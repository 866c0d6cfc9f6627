"""`get_lori_model`: the promises of the adapter in a training loop that is not ours."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

import lori_cl as cl
from lori_cl.errors import ArtifactDamaged, ArtifactMissing, CapacityExhausted, InputError, TargetError

Make = Callable[..., cl.LoRIModel]
Batch = dict[str, Tensor]


@pytest.fixture
def base(tiny_causal_lm: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_causal_lm)


@pytest.fixture
def make(base: Any) -> Make:
    def wrap(**settings: Any) -> cl.LoRIModel:
        chosen = {"rank": 4, "alpha": 8, "density": 0.2, "strategy": "random", **settings}
        return cl.get_lori_model(copy.deepcopy(base), cl.LoRI(**chosen))

    return wrap


@pytest.fixture
def batches(base: Any) -> list[Batch]:
    ids = torch.randint(3, base.config.vocab_size, (4, 2, 6), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": each, "labels": each} for each in ids]


def train(
    model: Any, stage: Any, batches: list[Batch], optimizer: Any = torch.optim.AdamW, **options: Any
) -> None:
    opt = optimizer(stage.parameters(), **{"lr": 0.01, **options})
    model.train()
    for batch in batches:
        model(**batch).loss.backward()
        opt.step()
        opt.zero_grad()
    model.eval()


@torch.no_grad()
def logits(model: Any, batches: list[Batch]) -> Tensor:
    model.eval()
    return torch.cat([model(input_ids=batch["input_ids"]).logits for batch in batches])


def train_first(model: cl.LoRIModel, batches: list[Batch]) -> Tensor:
    """Train the stage 'first'; return its logits in the view `as_trained`."""
    with model.stage("first") as stage:
        train(model, stage, batches)
    with model.view("as_trained", task="first"):
        return logits(model, batches)


OPTIMIZERS = {
    "adamw with decay": (torch.optim.AdamW, {"weight_decay": 0.5}),
    "sgd with momentum": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    "adagrad": (torch.optim.Adagrad, {}),
}


@pytest.mark.parametrize(("optimizer", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_earlier_cells_and_outputs_stay_bit_identical_after_any_optimizer(
    make: Make, batches: list[Batch], optimizer: Any, options: dict[str, Any]
) -> None:
    model = make()
    with model.stage("first") as stage:
        train(model, stage, batches, optimizer, **options)
    cells = {name: t.clone() for name, t in model._lori.history[0].tensors.items()}
    with model.view("as_trained", task="first"):
        before = logits(model, batches)
    with model.stage("second") as stage:
        train(model, stage, batches, optimizer, **options)
    assert all(torch.equal(cells[name], t) for name, t in model._lori.history[0].tensors.items())
    with model.view("as_trained", task="first"):
        assert torch.equal(logits(model, batches), before)


def test_a_second_stage_trains(make: Make, batches: list[Batch]) -> None:
    model = make()
    for task in ("first", "second"):
        before = logits(model, batches)
        with model.stage(task) as stage:
            train(model, stage, batches)
        assert not torch.equal(logits(model, batches), before)
    assert model.stages == ("first", "second")
    assert [claim.task for claim in model.ledger.claims] == ["first", "second"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_accumulation_steps": 2},
        {"bf16": True},
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
        {"save_strategy": "steps", "save_steps": 1},
    ],
    ids=["plain", "accumulation", "bf16", "checkpointing", "checkpoints"],
)
def test_an_ordinary_trainer_trains_only_the_open_cells(
    make: Make, batches: list[Batch], tmp_path: Path, options: dict[str, Any]
) -> None:
    model = make()
    before = train_first(model, batches)
    rows = [{k: v[0] for k, v in batch.items()} for batch in batches]
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=2,
        learning_rate=0.01,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **{"save_strategy": "no", **options},
    )
    with model.stage("second") as stage:
        trainer = Trainer(model=model, args=arguments, train_dataset=rows)
        trainer.train()
        # accelerate leaves the autocast of bf16 around forward
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        assert any(bool(p.detach().any()) for p in stage.parameters())
    with model.view("as_trained", task="first"):
        assert torch.equal(logits(model, batches), before)
    for folder in tmp_path.glob("checkpoint-*"):
        assert (folder / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("names", ["lora", "values", ""])
def test_a_stage_survives_what_other_trainers_do_to_requires_grad(
    make: Make, batches: list[Batch], names: str
) -> None:
    """A trainer freezes everything, and unfreezes parameters by name, as TRL does with a PeftModel."""
    model = make()
    before = train_first(model, batches)
    with model.stage("second") as stage:
        model.requires_grad_(False)
        for name, parameter in model.named_parameters():
            parameter.requires_grad = names in name
        train(model, stage, batches)
    with model.view("as_trained", task="first"):
        assert torch.equal(logits(model, batches), before)
    with model.stage("third") as stage:
        assert sum(p.requires_grad for p in model.parameters()) == len(stage.parameters())


def test_a_stage_that_trains_the_base_model_is_discarded(make: Make, batches: list[Batch]) -> None:
    model = make()

    def train_everything() -> None:
        with model.stage("first"):
            model.requires_grad_(True)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            model(**batches[0]).loss.backward()
            optimizer.step()

    with pytest.raises(cl.LoriError, match=r"the base model's weight .* changed"):
        train_everything()
    assert model.stages == ()


def test_a_stage_that_fails_leaves_nothing_behind(make: Make, batches: list[Batch]) -> None:
    model = make()
    before = logits(model, batches)

    def fail() -> None:
        with model.stage("first") as stage:
            train(model, stage, batches)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert model.stages == ()
    assert torch.equal(logits(model, batches), before)
    with model.stage("first") as stage:
        train(model, stage, batches)
    assert model.stages == ("first",)


@pytest.mark.parametrize("settings", [{}, {"strategy": "magnitude"}, {"projection": "null-space"}])
def test_save_and_load_give_equal_logits_in_every_view(
    make: Make, base: Any, batches: list[Batch], tmp_path: Path, settings: dict[str, Any]
) -> None:
    model = make(**settings)
    for task in ("first", "second"):
        with model.stage(task, calibration=batches) as stage:
            train(model, stage, batches)
    model.save(tmp_path / "saved")
    loaded = cl.load_lori_model(copy.deepcopy(base), tmp_path / "saved")
    assert torch.equal(logits(loaded, batches), logits(model, batches))
    for task in ("first", "second"):
        with model.view("as_trained", task), loaded.view("as_trained", task):
            assert torch.equal(logits(loaded, batches), logits(model, batches))
    with loaded.stage("third", calibration=batches) as stage:
        train(loaded, stage, batches)


def test_a_saved_folder_that_was_damaged_is_refused(
    make: Make, base: Any, batches: list[Batch], tmp_path: Path
) -> None:
    model = make()
    with model.stage("first") as stage:
        train(model, stage, batches)
    model.save(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtifactDamaged, match="another digest"):
        cl.load_lori_model(copy.deepcopy(base), tmp_path)
    file.unlink()
    with pytest.raises(ArtifactMissing, match="cannot be read"):
        cl.load_lori_model(copy.deepcopy(base), tmp_path)
    with pytest.raises(ArtifactMissing, match=r"lori.json is missing"):
        cl.load_lori_model(copy.deepcopy(base), tmp_path / "nothing")
    other = copy.deepcopy(base)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    with pytest.raises(InputError, match="saved on a base model of digest"):
        cl.load_lori_model(other, tmp_path)


def test_a_trainers_checkpoint_is_a_plain_peft_folder(
    make: Make, base: Any, batches: list[Batch], tmp_path: Path
) -> None:
    model = make()
    with model.stage("first") as stage:
        train(model, stage, batches)
    model.save_pretrained(str(tmp_path / "peft"))
    plain = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "peft")
    assert torch.equal(logits(plain, batches), logits(model, batches))


def test_misuse_is_one_line(make: Make, base: Any, batches: list[Batch]) -> None:
    model = make(density=0.6)
    with model.stage("first"):
        with pytest.raises(InputError, match="stage 'first' is open"), model.stage("second"):
            pass
        with pytest.raises(InputError, match="stage 'first' is open"), model.view("current"):
            pass
    with pytest.raises(InputError, match="'first' is trained already"), model.stage("first"):
        pass
    with pytest.raises(CapacityExhausted, match="task 'second' needs"), model.stage("second"):
        pass
    with pytest.raises(InputError, match=r"task 'x'.*trained tasks: first"), model.view("as_trained", "x"):
        pass
    with pytest.raises(InputError, match="pass calibration=batches"), make(strategy="magnitude").stage("x"):
        pass
    with pytest.raises(TargetError):
        cl.get_lori_model(copy.deepcopy(base), cl.LoRI(targets=["no_such_layer"]))


def test_protected_texts_are_refused_in_an_own_loop(make: Make, batches: list[Batch]) -> None:
    model = make(projection="null-space", null_space={"protect": "texts.txt"})
    with (
        pytest.raises(InputError, match=r"null_space\.protect is only supported by lori-cl run"),
        model.stage("first", calibration=batches),
    ):
        pass
