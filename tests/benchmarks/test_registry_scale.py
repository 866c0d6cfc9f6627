"""The benchmark of a registry with many runs works; its results are not tested."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lori_cl.registry import Workspace
from lori_cl.reports import gather

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.nightly
def test_benchmark_measures_every_command_on_a_registry_with_many_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    scale = importlib.import_module("registry_scale")
    monkeypatch.setattr(scale, "COMMANDS", {name: scale.COMMANDS[name] for name in ("runs", "finished run")})
    sizes = ("--runs", "3", "--stages", "2", "--sites", "2", "--examples", "5", "--repeats", "1")
    done = CliRunner().invoke(scale.main, [*sizes, "--workspace", str(tmp_path), "--json"])
    assert done.exception is None, done.output
    assert set(json.loads(done.output)["commands"]) == {"runs", "finished run"}
    with Workspace(tmp_path).read() as registry:
        assert [run.status for run in registry.run_summaries()] == ["done"] * 3
        report = gather(registry, "run-0")
    assert [view.name for view in report.views] == ["as_trained", "current"]
    assert report.views[1].metrics[0].value is not None
