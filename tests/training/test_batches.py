"""Batches of examples of similar length."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lori_cl.errors import Interrupted
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.tasks.kinds import KINDS
from lori_cl.training import RunOptions, run_curriculum, stage_training
from lori_cl.training.batches import LengthSampler, is_grouped, padding
from lori_cl.training.training_job import TrainingJob

from .test_checkpoints import EndingProgress, bits

DRAW = random.Random(0)
LENGTHS = [DRAW.randint(1, 200) for _ in range(1001)]


def padded(order: list[int], batch_size: int) -> float:
    """Return the fraction of padding of batches in this order."""
    batches = [[LENGTHS[i] for i in order[at : at + batch_size]] for at in range(0, len(order), batch_size)]
    return 1 - sum(LENGTHS) / sum(len(batch) * max(batch) for batch in batches)


def test_every_example_comes_once_an_epoch() -> None:
    assert sorted(LengthSampler(LENGTHS, 8, seed=0)) == list(range(len(LENGTHS)))


def test_batches_of_similar_length_have_less_padding() -> None:
    assert padded(list(LengthSampler(LENGTHS, 8, seed=0)), 8) < 0.5 * padding(LENGTHS, 8)


def test_batches_are_not_in_the_order_of_their_length() -> None:
    order = list(LengthSampler(LENGTHS, 8, seed=0))
    longest = [max(LENGTHS[i] for i in order[at : at + 8]) for at in range(0, 1000, 8)]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_order_depends_on_seed_and_epoch_only() -> None:
    first, again, other = (LengthSampler(LENGTHS, 8, seed) for seed in (0, 0, 7))
    assert list(first) == list(again) == list(first)
    assert list(first) != list(other)
    again.set_epoch(1)
    assert list(again) != list(first)


def test_fewer_examples_than_a_batch_make_one_batch() -> None:
    assert sorted(LengthSampler([3, 1, 2], 8, seed=0)) == [0, 1, 2]


def test_default_groups_only_if_it_saves_padding_and_the_kind_wants_it() -> None:
    assert is_grouped(None, True, LENGTHS, 8)
    assert not is_grouped(None, True, [7] * 40, 8)
    assert not is_grouped(None, False, LENGTHS, 8)
    assert is_grouped(True, False, [7] * 40, 8)
    assert not is_grouped(False, True, LENGTHS, 8)


def test_setting_changes_the_order_of_a_classification_task(train_run: Callable[..., Run]) -> None:
    train = {"epochs": 1, "batch_size": 4, "lr": 0.01, "max_length": 16}
    plain, grouped = (
        train_run("a", name=name, train={**train, "group_by_length": value})
        for name, value in (("plain", None), ("grouped", True))
    )
    assert plain.stages[0].artifact != grouped.stages[0].artifact


def test_stage_with_grouped_batches_resumes_bit_identically(
    train_run: Callable[..., Run], workspace: Workspace, tmp_path: Path
) -> None:
    train = {"epochs": 3, "batch_size": 4, "lr": 0.01, "max_length": 16, "group_by_length": True}
    elsewhere = Workspace(tmp_path / "elsewhere")
    elsewhere.create()
    uninterrupted = train_run("a", into=elsewhere, train=train)
    with pytest.raises(Interrupted):  # in the middle of the second of three epochs of 4 steps
        train_run("a", train=train, progress=EndingProgress(Interrupted, "training", 6))
    assert bits(train_run("a", train=train)) == bits(uninterrupted)


def test_only_kinds_with_generated_answers_group_by_default() -> None:
    assert {name for name in KINDS if KINDS.find(name).group_by_length} == {"generation", "code", "safety"}


def test_texts_of_mixed_lengths_are_grouped_in_a_generation_task(
    workspace: Workspace,
    tmp_path: Path,
    tiny_causal_lm: Path,
    write_curriculum: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [{"q": f"it is {'red ' * (1 + 7 * (i % 2))}{i}", "a": "blue"} for i in range(20)]
    for split in ("train", "test"):
        lines = [json.dumps({**row, "q": f"{split} {row['q']}"}) + "\n" for row in rows]
        (tmp_path / f"{split}.jsonl").write_text("".join(lines))
    task = tmp_path / "copy.yaml"
    fields = {
        "prompt": "{{ q }}",
        "answer": "{{ a }}",
        "max_new_tokens": 2,
        "source": {"local": str(tmp_path)},
    }
    task.write_text(yaml.safe_dump({"name": "copy", "kind": "generation", **fields}))
    register_tasks(workspace, [task])
    jobs: list[TrainingJob] = []
    record = stage_training.run_job
    monkeypatch.setattr(stage_training, "run_job", lambda job, *rest: jobs.append(job) or record(job, *rest))
    curriculum = load_curriculum(write_curriculum("copy", model={"path": str(tiny_causal_lm)}))
    run_curriculum(workspace, curriculum, "run", RunOptions(), SilentProgress())
    assert [job.group_by_length for job in jobs] == [True]
