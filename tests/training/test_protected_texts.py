"""Null-space projections that protect the base model on a set of texts, from the first task on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoTokenizer

import lori_cl as cl
from lori_cl.errors import DataError, Interrupted, RunConflict, SpecError
from lori_cl.registry import Run, Workspace
from lori_cl.reports.capacity import capacity_of
from lori_cl.task_data.protected_texts import read_texts
from tests.nightly import only_in_ci
from tests.training.test_checkpoints import EndingProgress
from tests.training.test_encoder_decoder_runs import tasks

TEXTS = ["dry small square", "wet large flat dry", "small small wet", "square dry dry large"]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS) + "\n\n")
    return file


def trained(
    root: Path, base: Path, protect: Path | None, *names: str, progress: Any = False, **null_space: Any
) -> cl.Run:
    workspace = cl.Workspace(root)
    workspace.add_task(*tasks())
    settings = {**null_space, **({"protect": str(protect)} if protect else {})}
    curriculum = cl.Curriculum(
        model=base,
        tasks=names or ["say"],
        adapter={"rank": 2, "alpha": 8, "projection": "null-space", "null_space": settings},
        masks={"strategy": "random", "density": 0.3},
        train={"epochs": 4, "batch_size": 4, "lr": 0.05, "max_length": 16, "save_steps": 1},
        eval={"batch_size": 2},
    )
    return workspace.run(curriculum, name="run", progress=progress)


def recorded(root: Path) -> Run:
    with Workspace(root).read() as registry:
        return registry.run("run")


@torch.no_grad()
def change_on_texts(run: cl.Run, base: Path) -> float:
    """Return how much the adapter changes the logits on the protected texts, as a norm."""
    model, _ = run.load("current")
    tokenizer, total = AutoTokenizer.from_pretrained(base), 0.0
    for text in TEXTS:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        more = {}
        if model.config.is_encoder_decoder:
            start = torch.full((1, 1), model.config.decoder_start_token_id)
            more = {"decoder_input_ids": torch.cat([start, ids[:, :-1]], dim=1)}
        after = model(input_ids=ids, **more).logits
        with model.disable_adapter():
            total += float((after - model(input_ids=ids, **more).logits).norm() ** 2)
    return total**0.5


@pytest.mark.parametrize("family", only_in_ci(["causal_lm"], ["causal_lm", "t5", "bart"]))
def test_protected_texts_change_far_less(
    tmp_path: Path, texts: Path, family: str, request: pytest.FixtureRequest
) -> None:
    base = request.getfixturevalue(f"tiny_{family}")
    settings = {"energy": 1.0, "max_directions": 14, "min_free": 1}
    without = trained(tmp_path / "without", base, None, **settings)
    protected = trained(tmp_path / "protected", base, texts, **settings)
    assert change_on_texts(protected, base) < 0.1 * change_on_texts(without, base)
    assert protected.verify()


def test_capacity_counts_the_protected_directions(tmp_path: Path, texts: Path, tiny_causal_lm: Path) -> None:
    trained(tmp_path, tiny_causal_lm, texts, "say", "choose", max_directions=3)
    capacity = capacity_of(recorded(tmp_path))
    assert capacity is not None
    for site in capacity.by_site.values():
        assert set(site.inputs_taken) == {"(protected)", "say", "choose"}
        assert site.inputs_taken["(protected)"] == 3
        assert site.inputs is not None
        assert site.inputs_free == site.inputs - sum(site.inputs_taken.values())


@pytest.mark.nightly
def test_resumed_run_learns_what_an_uninterrupted_run_learns(
    tmp_path: Path, texts: Path, tiny_causal_lm: Path
) -> None:
    trained(tmp_path / "whole", tiny_causal_lm, texts, "say", "choose", max_directions=3)
    for title in ("say: training", "choose: training"):
        progress = EndingProgress(Interrupted, title, 3)
        with pytest.raises(Interrupted):
            trained(
                tmp_path / "ended",
                tiny_causal_lm,
                texts,
                "say",
                "choose",
                max_directions=3,
                progress=progress,
            )
    trained(tmp_path / "ended", tiny_causal_lm, texts, "say", "choose", max_directions=3)
    whole, ended = ([s.artifact for s in recorded(tmp_path / each).stages] for each in ("whole", "ended"))
    assert ended == whole


def test_changed_texts_are_refused_and_moved_ones_are_not(
    tmp_path: Path, texts: Path, tiny_causal_lm: Path
) -> None:
    run = trained(tmp_path / "run", tiny_causal_lm, texts, max_directions=3)
    settings = recorded(tmp_path / "run").curriculum["adapter"]["null_space"]
    assert len(settings["protect_sha256"]) == 64
    moved = texts.rename(tmp_path / "moved.txt")
    trained(tmp_path / "run", tiny_causal_lm, moved, "say", "choose", max_directions=3)
    moved.write_text("another text\n")
    with pytest.raises(RunConflict, match=r"adapter\.null_space\.protect_sha256 = [0-9a-f]{64} \(now"):
        trained(tmp_path / "run", tiny_causal_lm, moved, "say", "choose", "pick", max_directions=3)
    moved.unlink()
    assert run.predict(["it is wet red"], "say")  # a finished run does not need the file


def test_digest_in_the_curriculum_pins_the_texts(tmp_path: Path, texts: Path, tiny_causal_lm: Path) -> None:
    with pytest.raises(RunConflict, match=r"texts\.txt has the SHA-256 .*, and the curriculum has 0{16}"):
        trained(tmp_path / "run", tiny_causal_lm, texts, protect_sha256="0" * 64)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "cannot be read: No such file"),
        ("empty.txt", b"\n \n", "has no text"),
        ("latin.txt", b"caf\xe9", "byte 3 is not UTF-8"),
        ("texts.docx", b"a", r"should be a \.txt file, or one of \.jsonl"),
        ("texts.jsonl", b'{"body": "a"}\n', "text"),
    ],
)
def test_unusable_files_are_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_texts(str(file))


def test_data_files_with_a_column_of_texts_are_read(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text, "n": 1}) + "\n" for text in [*TEXTS, " "]))
    assert read_texts(str(file)) == TEXTS


def test_protection_needs_null_space_projections() -> None:
    with pytest.raises(SpecError, match=r"only used with adapter\.projection: null-space"):
        cl.LoRI(null_space={"protect": "texts.txt"})
    with pytest.raises(ValidationError, match=r"only used with adapter\.null_space\.protect"):
        cl.NullSpace(protect_sha256="0" * 64)
