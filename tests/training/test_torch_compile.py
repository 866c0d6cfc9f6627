"""Training with torch.compile."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch

from lori_cl.errors import InputError, Interrupted
from lori_cl.evaluation.stage_file import read_stage
from lori_cl.registry import Run, Workspace
from lori_cl.spec import CurriculumSpec
from tests.training.test_checkpoints import EndingProgress

TRAIN = {"epochs": 3, "batch_size": 8, "lr": 0.01, "max_length": 16, "save_steps": 1}


@pytest.mark.nightly
def test_compiled_stages_learn_nearly_the_same_and_resume(
    train_run: Callable[..., Run], workspace: Workspace
) -> None:
    compiled = {**TRAIN, "torch_compile": True}
    plain = train_run("a", "b", name="plain", train=TRAIN)
    whole = train_run("a", "b", name="whole", train=compiled)
    with pytest.raises(Interrupted):
        train_run(
            "a", "b", name="resumed", train=compiled, progress=EndingProgress(Interrupted, "b: training", 4)
        )
    resumed = train_run("a", "b", name="resumed", train=compiled)
    for one, two, three in zip(plain.stages, whole.stages, resumed.stages, strict=True):
        eager, found, again = (
            read_stage(workspace.artifacts.get(each.artifact, "safetensors"))[0] for each in (one, two, three)
        )
        assert {name for name in found if not torch.equal(found[name], again[name])} == set()
        for name, values in eager.items():
            torch.testing.assert_close(found[name], values, rtol=1e-3, atol=1e-5)


def test_missing_compiler_is_reported_before_anything_is_stored(
    train_run: Callable[..., Run], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match=r"needs a C\+\+ compiler, which is not installed: apt-get"):
        train_run("a", train={**TRAIN, "torch_compile": True})
    monkeypatch.setenv("CXX", "icpx")
    with pytest.raises(InputError, match=r"needs 'icpx', which CXX names, is not installed"):
        train_run("a", train={**TRAIN, "torch_compile": True})
    with workspace.read() as registry:
        assert registry.find_run("run") is None


def test_curriculum_without_compilation_is_recorded_as_before() -> None:
    def record(**train: object) -> dict[str, object]:
        spec = CurriculumSpec(name="a", model={"path": "a/b"}, tasks=["t"], train=train)
        return dict(spec.to_record()["train"])

    assert "torch_compile" not in record()
    assert record(torch_compile=False) == record()
    assert record(torch_compile=True)["torch_compile"] is True
