"""The benchmarks on real texts run with a tiny model and few rows; their results are not tested."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CL_BENCH = BENCHMARKS.parent / "tasks" / "cl_bench"
WORDS = ("wet", "dry", "flat", "small")
NULL_SPACE = ("adapter.projection=null-space", "adapter.null_space.max_directions=2")

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a benchmark's command and returns its output."""
    for task in ("sst2", "agnews", "qqp", "mnli", "amazon"):
        labels = yaml.safe_load((CL_BENCH / f"{task}.yaml").read_text())["labels"]
        rows = [{"text": f"it is {WORDS[i % 4]} {i}", "label": labels[i % len(labels)]} for i in range(16)]
        folder = tmp_path / "texts" / task
        folder.mkdir(parents=True)
        for split in ("train", "test"):
            lines = [json.dumps({**row, "text": f"{split} {row['text']}"}) + "\n" for row in rows]
            (folder / f"{split}.jsonl").write_text("".join(lines))
    monkeypatch.setenv("LORI_CL_DATA", str(tmp_path / "texts"))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    tiny = {
        "model.path": tiny_encoder,
        "adapter.rank": 4,
        "adapter.alpha": 8,
        "train.epochs": 1,
        "train.batch_size": 4,
        "train.max_length": 8,
    }

    def call(name: str, *arguments: str) -> str:
        settings = [part for key, value in tiny.items() for part in ("--set", f"{key}={value}")]
        done = CliRunner().invoke(importlib.import_module(name).main, [*arguments, *settings])
        if done.exception:
            raise done.exception
        return done.stdout

    return call


@pytest.mark.nightly
def test_forgetting_benchmark_prints_a_table_of_its_arms(run: Run, tmp_path: Path) -> None:
    options = ("--only", "shared, random", "--only", "sequential-lora", "--seed", "0", "--seed", "1")
    printed = run("forgetting", "--workspace", str(tmp_path / "ws"), "--order", "five", *options)
    *runs, _, _, shared, sequential = printed.splitlines()
    assert [json.loads(each)["run"][:8] for each in runs] == ["five-sha", "five-seq"] * 2
    assert shared.startswith("| shared, random | 2 | ")
    assert sequential.startswith("| sequential-lora | 2 | ")


@pytest.mark.nightly
def test_trial_is_scored_on_held_out_rows(run: Run, tmp_path: Path) -> None:
    trial = ("--dev", "4", "--soft", "0.5", "--gain", "2", "--free", "query")
    settings = [part for each in (*NULL_SPACE, "masks.strategy=random") for part in ("--set", each)]
    printed = run("null_space_trials", "--workspace", str(tmp_path / "ws"), *trial, *settings)
    found = json.loads(printed)
    assert (found["soft"], found["free"], found["gain"]) == (0.5, "query", 2.0)
    assert 0 <= found["acc"] <= 100
    test, train = ((tmp_path / "ws/data/sst2" / f"{s}.jsonl").read_text() for s in ("test", "train"))
    assert (len(test.splitlines()), len(train.splitlines())) == (4, 12)


@pytest.mark.nightly
def test_mask_benchmark_compares_masks_with_magnitude_masks(run: Run) -> None:
    *_, magnitude, gradient, random = run("mask_evidence", "--dev", "4").splitlines()
    assert magnitude.endswith("| 100.0, 100.0, 100.0, 100.0, 100.0 |")
    assert gradient.startswith("| gradient | ")
    assert random.startswith("| random | ")


@pytest.mark.nightly
def test_gradient_benchmark_compares_cell_scores_with_magnitudes(run: Run) -> None:
    rows = run("gradient_scores", "--dev", "4").splitlines()
    assert rows[0] == "| score | sst2 | agnews | qqp | mnli | amazon |"
    assert sum(row.startswith("| abs(B) after ") for row in rows) == 3


@pytest.mark.nightly
def test_learning_rates_are_tried_in_order(run: Run) -> None:
    rows = [
        json.loads(line) for line in run("tune_lr", "--dev", "4", "--lr", "1e-3", "--lr", "1e-2").splitlines()
    ]
    assert [(row["lr"], row["view"]) for row in rows] == [
        (lr, view) for lr in (1e-3, 1e-2) for view in ("as_trained", "current")
    ]
