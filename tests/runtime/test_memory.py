"""Too little memory is reported in one line with both numbers and the options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lori_cl.errors import LoriError, OutOfMemory
from lori_cl.models.base_model import load_base
from lori_cl.models.location import locate_model
from lori_cl.models.weights_size import loaded_bytes
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import memory
from lori_cl.runtime.memory import check_fits, free_bytes, gibibytes, memory_errors
from lori_cl.spec import ModelSpec

CUDA = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB of which "
    "12.56 MiB is free."
)
PER_VALUE = {"float32": 4, "bfloat16": 2}


def exhaust(*_: Any, **__: Any) -> Any:
    return torch.empty(2**60, dtype=torch.uint8)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _=None: 3 * 2**20)


@pytest.mark.usefixtures("little_memory")
def test_error_states_what_is_needed_and_free_and_the_options() -> None:
    with pytest.raises(OutOfMemory) as caught, memory_errors("stage 1/2 say"):
        raise CUDA
    assert str(caught.value).startswith(
        "stage 1/2 say: out of memory; it needs 20.0 MiB more, and cpu has 3.0 MiB free. To use less: set "
        "model.dtype: bfloat16, model.quantization or model.device_map, lower train.batch_size"
    )


def test_failed_allocation_on_the_cpu_is_recognised() -> None:
    with pytest.raises(OutOfMemory, match=r"needs 1,073,741,824\.00 GiB more"), memory_errors("scoring"):
        exhaust()


def test_other_errors_are_not_changed() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_errors("scoring"):
        raise RuntimeError("shapes differ")
    with pytest.raises(LoriError, match="no score"), memory_errors("scoring"):
        raise LoriError("no score")


@pytest.mark.usefixtures("little_memory")
def test_needed_memory_is_compared_with_the_free_memory() -> None:
    check_fits("it", 3 * 2**20, [torch.device("cpu")])
    with pytest.raises(OutOfMemory, match=r"it needs at least 4\.0 MiB, and cpu has 3\.0 MiB free"):
        check_fits("it", 4 * 2**20, [torch.device("cpu")])


@pytest.mark.parametrize("dtype", PER_VALUE)
def test_size_of_a_model_is_known_before_it_is_loaded(tiny_causal_lm: Path, dtype: str) -> None:
    spec = ModelSpec(path=str(tiny_causal_lm), dtype=dtype)
    model = load_base(spec, "causal-lm").model
    held = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    assert held <= loaded_bytes(spec, locate_model(spec)) < held + 10_000  # and the header of the file


def test_quantized_model_needs_less(tiny_causal_lm: Path) -> None:
    plain, four = (ModelSpec(path=str(tiny_causal_lm), quantization=each) for each in (None, {"bits": 4}))
    place = locate_model(plain)
    assert loaded_bytes(four, place) < loaded_bytes(plain, place)


def test_model_that_does_not_fit_is_refused_before_loading(
    tiny_causal_lm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _=None: 1024)
    with pytest.raises(OutOfMemory, match=r"causal-lm0' in float32 needs at least .* MiB, and cpu has 0\.0"):
        load_base(ModelSpec(path=str(tiny_causal_lm)), "causal-lm")


def test_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    unlimited = free_bytes(torch.device("cpu"))
    for name, text in {"max": "5000", "current": "3000", "stat": "anon 900\ninactive_file 1000\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert free_bytes(torch.device("cpu")) == 3000 < unlimited
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(torch.device("cpu")) > 3000


@pytest.mark.parametrize(
    ("where", "title"),
    [
        ("lori_cl.tasks.kinds.classification.read_texts", "scoring colors, base"),
        ("lori_cl.training.trainer.Trainer.compute_loss", "stage 1/1 colors"),
        ("lori_cl.evaluation.loaded_run.select_sites", "loading the base model with its adapter"),
    ],
)
def test_run_that_exhausts_memory_ends_with_one_line(
    train_run: Callable[..., Run],
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    title: str,
) -> None:
    monkeypatch.setattr(where, exhaust)
    with pytest.raises(OutOfMemory, match=f"^{title}: out of memory; it needs .* GiB more, and"):
        train_run("colors")
    with workspace.read() as registry:
        run = registry.find_run("run")
        assert run is None or not run.stages


def test_sizes_are_readable() -> None:
    assert [gibibytes(n) for n in (12 * 2**20, 3 * 2**29)] == ["12.0 MiB", "1.50 GiB"]
