"""Packed rows: a model reads the examples in a row as it reads each alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError
from transformers import BloomConfig, BloomForCausalLM

from lori_cl.errors import InputError
from lori_cl.models.base_model import BaseModel, load_base
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.spec import ModelSpec, TrainSpec, load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.tasks.kinds import KINDS
from lori_cl.tasks.kinds.encoder_decoder import IGNORED
from lori_cl.training import RunOptions, plan_curriculum, run_curriculum
from lori_cl.training.packing import Packing, check_packing, packing_of

PACKING = Packing(max_length=12, pad=0)
TEXTS = [[5, 6, 7], [8, 9], [5, 9, 8, 6, 7], [6, 5, 9, 7]]
EXAMPLES = [{"input_ids": text, "labels": [IGNORED, *text[1:]]} for text in TEXTS]


@pytest.fixture(scope="module")
def base(tiny_causal_lm: Path) -> BaseModel:
    return load_base(ModelSpec(path=str(tiny_causal_lm)), "causal-lm")


@pytest.fixture
def copy_task(tmp_path: Path) -> Path:
    """A task of 16 examples: repeat the last word."""
    pairs = [(a, b) for a in ("wet", "dry", "flat", "small") for b in ("red", "blue", "green", "round")]
    for split in ("train", "test"):
        lines = [json.dumps({"q": f"it is {a} {b}", "a": b}) + "\n" for a, b in pairs]
        (tmp_path / f"{split}.jsonl").write_text("".join(lines))
    task = {
        "name": "copy",
        "kind": "generation",
        "source": {"local": str(tmp_path)},
        "allow_duplicates": True,
    }
    file = tmp_path / "copy.yaml"
    file.write_text(yaml.safe_dump({**task, "prompt": "{{ q }}", "answer": "{{ a }}", "max_new_tokens": 2}))
    return file


def test_every_example_is_in_one_row_and_no_row_is_too_long() -> None:
    draw = random.Random(0)
    lengths = [draw.randint(1, 12) for _ in range(300)]
    groups = PACKING.groups(lengths)
    assert sorted(i for group in groups for i in group) == list(range(300))
    assert max(sum(lengths[i] for i in group) for group in groups) <= 12
    assert len(groups) <= 1.05 * sum(lengths) / 12


def test_loss_of_packed_examples_equals_that_of_the_examples(base: BaseModel) -> None:
    packing = packing_of(base, 12)
    rows = [packing.join([EXAMPLES[i] for i in group]) for group in packing.groups([len(t) for t in TEXTS])]
    assert len(rows) == 2
    batch = packing.collate(rows)
    plain = KINDS["generation"].collate(base.tokenizer, EXAMPLES)
    base.model.eval()
    assert float(base.model(**batch)["loss"]) == pytest.approx(float(base.model(**plain)["loss"]), rel=1e-5)


def test_gradients_do_not_cross_from_one_example_to_the_next(base: BaseModel) -> None:
    packing = packing_of(base, 12)
    batch = packing.collate([packing.join(EXAMPLES[:2])])
    embedded = base.model.get_input_embeddings()(batch.pop("input_ids")).detach().requires_grad_()
    batch["labels"][0, :3] = IGNORED  # the loss is on the second example only
    base.model(inputs_embeds=embedded, **batch)["loss"].backward()
    assert embedded.grad is not None
    assert bool((embedded.grad[0, :3] == 0).all())
    assert bool((embedded.grad[0, 3] != 0).any())


def test_first_token_of_an_example_is_not_predicted_from_the_example_before() -> None:
    row = PACKING.join([{"input_ids": [5, 6], "labels": [5, 6]}] * 2)
    assert row["labels"] == [IGNORED, 6, IGNORED, 6]
    assert row["position_ids"] == [0, 1, 0, 1]


def test_model_that_reads_packed_texts_as_one_is_refused(base: BaseModel) -> None:
    check_packing(base)
    torch.manual_seed(0)
    config = BloomConfig(vocab_size=len(base.tokenizer), hidden_size=16, n_layer=2, n_head=2)
    bloom = BaseModel(**{**vars(base), "model": BloomForCausalLM(config).eval()})
    with pytest.raises(InputError, match="a model of type bloom reads packed examples as one text"):
        check_packing(bloom)


def test_packing_is_refused_for_an_encoder(train_run: Callable[..., Run], workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"train\.packing needs a causal language model"):
        train_run("a", train={"packing": True})
    with workspace.read() as registry:
        assert registry.find_run("run") is None


def test_packing_and_grouping_are_refused_together() -> None:
    with pytest.raises(ValidationError, match=r"'train\.group_by_length' is not used with"):
        TrainSpec(packing=True, group_by_length=True)
    assert "packing" not in TrainSpec(packing=False).model_dump(mode="json")


def test_run_with_packing_takes_the_planned_steps_and_learns(
    workspace: Workspace,
    copy_task: Path,
    tiny_causal_lm: Path,
    write_curriculum: Callable[..., Path],
) -> None:
    register_tasks(workspace, [copy_task])
    train = {"epochs": 60, "batch_size": 4, "lr": 0.05, "max_length": 32, "packing": True}
    masks = {"strategy": "random", "density": 1.0}
    file = write_curriculum("copy", model={"path": str(tiny_causal_lm)}, masks=masks, train=train)
    curriculum = load_curriculum(file)
    planned = plan_curriculum(workspace, curriculum, "run", RunOptions())
    run = run_curriculum(workspace, curriculum, "run", RunOptions(), SilentProgress())
    assert run.stages[0].steps == planned.stages[0].steps < 60 * run.stages[0].n_train / 4
    with workspace.read() as registry:
        scores = {(e.stage, e.view): e.score for e in registry.evaluations("run")}
    assert scores[1, "as_trained"] > scores[0, "base"]
