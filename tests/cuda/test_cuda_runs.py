"""Runs on a CUDA device: `pytest -m cuda` runs these tests where there is one, and skips them elsewhere."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lori_cl.errors import Interrupted
from lori_cl.registry import Evaluation, Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.runtime.distributed import device
from lori_cl.serving.remeasure import RemeasureOptions, remeasure
from lori_cl.training import RunOptions
from tests.training.test_checkpoints import MASKS, TRAIN, EndingProgress, bits

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
TrainRun = Callable[..., Run]
Scores = Callable[..., dict[tuple[int, str, str], Evaluation]]


def test_run_trains_on_the_gpu_and_records_its_memory(train_run: TrainRun) -> None:
    run = train_run("a", "b", masks=MASKS)
    assert device().type == "cuda"
    assert 0 < run.stages[1].peak_memory_bytes == torch.cuda.max_memory_allocated()


def test_stage_resumes_bit_identically_on_a_gpu(train_run: TrainRun, tmp_path: Path) -> None:
    elsewhere = Workspace(tmp_path / "elsewhere")
    elsewhere.create()
    uninterrupted = train_run("a", "b", into=elsewhere, train=TRAIN, masks=MASKS)
    with pytest.raises(Interrupted):
        train_run("a", "b", train=TRAIN, masks=MASKS, progress=EndingProgress(Interrupted, "2/2 b: train", 4))
    assert bits(train_run("a", "b", train=TRAIN, masks=MASKS)) == bits(uninterrupted)


def test_earlier_task_keeps_its_answers_on_a_gpu(train_run: TrainRun, scores: Scores) -> None:
    train_run("a", "b", "c", options=RunOptions(measure_all=True))
    found = scores()
    assert found[3, "a", "as_trained"].source == "measured"
    assert found[3, "a", "as_trained"].outcomes == found[1, "a", "as_trained"].outcomes


def test_scores_are_measured_again_on_the_same_gpu(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a", "b", eval={"batch_size": 4, "views": ["as_trained", "current", "routed"]})
    with workspace.open() as registry:
        *_, last = remeasure(workspace, registry, "run", RemeasureOptions(), SilentProgress())
    assert "none was left out" in last.found


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_float32_values(train_run: TrainRun, precision: str) -> None:
    run = train_run("a", train={**TRAIN, "precision": precision})
    assert 0 < run.stages[0].final_loss < 10


def test_null_space_projection_is_computed_on_the_gpu(train_run: TrainRun, scores: Scores) -> None:
    null_space = {"max_directions": 4}
    train_run("a", "b", adapter={"rank": 4, "alpha": 8, "projection": "null-space", "null_space": null_space})
    assert scores()[2, "a", "as_trained"].outcomes == scores()[1, "a", "as_trained"].outcomes


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
@pytest.mark.parametrize("bits_of_weights", [4, 8])
def test_quantised_base_trains_on_a_gpu(
    train_run: TrainRun, tiny_encoder: Path, bits_of_weights: int
) -> None:
    model = {"path": str(tiny_encoder), "dtype": "bfloat16", "quantization": {"bits": bits_of_weights}}
    assert train_run("a", "b", model=model).stages[1].steps > 0
