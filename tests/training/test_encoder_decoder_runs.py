"""The whole workflow with encoder-decoder base models: train, extend, verify, predict, route, export."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, PeftModelForSeq2SeqLM
from transformers import AutoModelForSeq2SeqLM

import lori_cl as cl
from lori_cl.errors import Interrupted
from tests.nightly import only_in_ci
from tests.tiny import WORDS
from tests.training.test_checkpoints import EndingProgress

NULL_SPACE = {"rank": 4, "alpha": 8, "projection": "null-space", "null_space": {"max_directions": 4}}
TRAIN = {"epochs": 3, "batch_size": 4, "lr": 0.05, "max_length": 16}
MODES: dict[str, tuple[str, dict[str, Any]]] = {
    "t5-shared": ("t5", {}),
    "t5-null-space": ("t5", {"adapter": NULL_SPACE}),
    "t5-sequential-lora": ("t5", {"method": "sequential-lora"}),
    "bart-null-space": ("bart", {"adapter": NULL_SPACE}),
    "bart-sequential-lora": ("bart", {"method": "sequential-lora"}),
    "bart-checkpointing": ("bart", {"train": {**TRAIN, "gradient_checkpointing": True}}),
}
VIEWS = ["as_trained", "current", "routed"]


def rows(task: str, begin: str, n: int) -> list[dict[str, str]]:
    draw, found = random.Random(f"{task} {begin}"), []
    for i in range(n):
        words, label = draw.choices(WORDS[3:], k=1 + i % 4), ("red", "blue")[i % 2]
        found.append({"text": " ".join([begin, *words, label, WORDS[3 + i // 2]]), "label": label})
    return found


def data(task: str) -> dict[str, Any]:
    return {"train": rows(task, "it is", 12), "eval": rows(task, "is it", 8)}


def tasks() -> list[Any]:
    return [
        cl.Classification("pick", **data("pick"), prompt="{{ text }}", label_words=["blue flat", "red"]),
        cl.Generation("say", **data("say"), prompt="{{ text }}", answer="{{ label }}", max_new_tokens=2),
        cl.MultipleChoice(
            "choose", **data("choose"), prompt="{{ text }}", choices=["red", "blue"],
            answer="{{ label }}", answer_is="text",
        ),
    ]  # fmt: skip


def trained(root: Path, base: Path, fields: dict[str, Any], *names: str, progress: Any = False) -> cl.Run:
    workspace = cl.Workspace(root)
    workspace.add_task(*tasks())
    curriculum = {
        "adapter": {"rank": 4, "alpha": 8},
        "train": TRAIN,
        "eval": {"batch_size": 4, "views": VIEWS},
        **fields,
    }
    if "method" not in fields:
        curriculum["masks"] = {"strategy": "gradient", "density": 0.2}
    chosen = cl.Curriculum(model=base, tasks=names, **curriculum)
    return workspace.run(chosen, name="run", progress=progress)


@pytest.fixture(scope="module", params=only_in_ci(["t5-null-space"], MODES))
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def base(request: pytest.FixtureRequest, mode: str) -> Path:
    return Path(request.getfixturevalue(f"tiny_{MODES[mode][0]}"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, mode: str, base: Path) -> cl.Run:
    """A run of three tasks, of which the last two were appended."""
    first = trained(tmp_path_factory.mktemp("run"), base, MODES[mode][1], "pick")
    return first.extend("say", "choose", progress=False)


def test_as_trained_scores_never_change_and_every_view_is_scored(run: cl.Run) -> None:
    with run.workspace.storage.read() as registry:
        found = {(e.view, e.task, e.stage): e.answers for e in registry.evaluations(run.name) if e.stage}
    assert {view for view, _, _ in found} == set(VIEWS)
    for first, task in enumerate(run.tasks, start=1):
        assert len({found["as_trained", task, stage] for stage in range(first, 4)}) == 1


def test_appended_tasks_equal_an_uninterrupted_run(
    run: cl.Run, mode: str, base: Path, tmp_path: Path
) -> None:
    whole = trained(tmp_path, base, MODES[mode][1], "pick", "say", "choose")
    assert [stage.final_loss for stage in whole.stages] == [stage.final_loss for stage in run.stages]


def test_every_score_is_measured_again_with_equal_outcomes(run: cl.Run) -> None:
    *_, summary = run.verify(remeasure=True)
    assert summary.check == "remeasure"
    assert summary.found.endswith("none was left out")


def test_texts_are_routed_to_a_task_that_answers(run: cl.Run) -> None:
    assert {each.task for each in run.predict(["it is red wet"], route=True)} <= set(run.tasks)


def test_predictions_of_mixed_batches_are_the_scored_answers(run: cl.Run) -> None:
    asked = [{**row, "task": task} for task in run.tasks for row in rows(task, "is it", 8)]
    random.Random(0).shuffle(asked)
    found = {(row["task"], row["text"]): p.answer for row, p in zip(asked, run.predict(asked), strict=True)}
    alone = {(row["task"], row["text"]): run.predict([row])[0].answer for row in asked[:6]}
    assert alone.items() <= found.items()
    with run.workspace.storage.read() as registry:
        scored = [e for e in registry.evaluations(run.name) if (e.view, e.stage) == ("as_trained", 3)]
    for evaluation in scored:
        lines = run.workspace.storage.artifacts.get(evaluation.answers, "jsonl").decode().splitlines()
        texts = rows(evaluation.task, "is it", 8)
        for line in map(json.loads, lines):
            assert found[evaluation.task, texts[line["id"]]["text"]] == line["answer"]


@pytest.mark.parametrize("task", ["pick", None])
def test_plain_peft_loads_an_export_with_equal_logits(
    run: cl.Run, base: Path, tmp_path: Path, task: str | None
) -> None:
    done = run.export(task, tmp_path / "out")
    assert done.largest_difference == 0.0
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_2_SEQ_LM"
    model, tokenizer = run.load("current" if task is None else "as_trained", task)
    batch = tokenizer(
        ["it is red", "is it wet blue"], padding=True, padding_side="right", return_tensors="pt"
    )
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}
    read["decoder_input_ids"] = torch.tensor([[0, 5, 6], [0, 7, 8]])
    plain = AutoModelForSeq2SeqLM.from_pretrained(base).eval()
    with torch.no_grad():
        before = plain(**read).logits
        theirs = PeftModel.from_pretrained(plain, tmp_path / "out").eval()
        assert isinstance(theirs, PeftModelForSeq2SeqLM)
        logits = theirs(**read).logits
        assert torch.equal(logits, model.eval()(**read).logits)
        written = theirs.generate(input_ids=read["input_ids"], attention_mask=read["attention_mask"])
    assert written.shape[0] == 2
    assert not torch.equal(before, logits)


def test_export_changes_encoder_decoder_and_cross_attention(run: cl.Run, mode: str) -> None:
    model, _ = run.load()
    changed = {
        name.partition(".lora_B")[0].removeprefix("base_model.model.").removeprefix("model.")
        for name, module in model.named_modules()
        if name.endswith(".lora_B.default") and bool(module.weight.any())
    }
    cross = "EncDecAttention" if mode.startswith("t5") else "encoder_attn"
    assert {site.split(".")[0] for site in changed} == {"encoder", "decoder"}
    assert any(cross in site for site in changed)


def test_interference_reports_every_pair_of_tasks(run: cl.Run) -> None:
    assert len(run.interference(examples=4).pairs) == 3


def test_merged_adapter_is_loaded_by_plain_peft(run: cl.Run, base: Path, tmp_path: Path) -> None:
    run.workspace.merge(run.name, ["pick", "choose"], tmp_path / "out", progress=False)
    plain = AutoModelForSeq2SeqLM.from_pretrained(base)
    assert isinstance(PeftModel.from_pretrained(plain, tmp_path / "out"), PeftModelForSeq2SeqLM)


def test_stage_interrupted_during_training_resumes_bit_identically(tiny_t5: Path, tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", tiny_t5, {}, "say")
    with pytest.raises(Interrupted):
        trained(tmp_path / "cut", tiny_t5, {}, "say", progress=EndingProgress(Interrupted, "training", 4))
    resumed = trained(tmp_path / "cut", tiny_t5, {}, "say")
    assert [stage.artifact for stage in resumed.stages] == [stage.artifact for stage in whole.stages]


def test_gradient_accumulation_trains_like_one_batch(tiny_t5: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_t5, base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "dropout_rate": 0.0}))
    losses = []
    for size, accumulated in ((4, 1), (2, 2)):
        train = {**TRAIN, "batch_size": size, "gradient_accumulation": accumulated}
        done = trained(tmp_path / str(size), base, {"train": train}, "say")
        losses.append(done.stages[0].final_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_exported_adapter_is_imported_into_a_new_run(tiny_t5: Path, tmp_path: Path) -> None:
    trained(tmp_path / "old", tiny_t5, {}, "pick").export("pick", tmp_path / "out")
    workspace = cl.Workspace(tmp_path / "new")
    workspace.add_task(*tasks())
    chosen = cl.Curriculum(model=tiny_t5, tasks=["pick"], adapter={"rank": 4, "alpha": 8}, train=TRAIN)
    imported = workspace.import_adapter(tmp_path / "out", chosen, "imported", progress=False)
    assert imported.tasks == ("pick",)


def test_own_training_loop_adapts_a_t5(tiny_t5: Path, tmp_path: Path) -> None:
    base = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5)
    model = cl.get_lori_model(base, cl.LoRI(rank=4, density=0.5, strategy="random"))
    ids = torch.tensor([[5, 6, 7]])
    with model.stage("first") as stage:
        optimizer = torch.optim.AdamW(stage.parameters(), lr=5e-3)
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    model.save_pretrained(str(tmp_path / "out"))
    plain = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5)
    theirs = PeftModel.from_pretrained(plain, tmp_path / "out").eval()
    with torch.no_grad():
        assert torch.equal(
            theirs(input_ids=ids, decoder_input_ids=ids).logits,
            model.eval()(input_ids=ids, decoder_input_ids=ids).logits,
        )
