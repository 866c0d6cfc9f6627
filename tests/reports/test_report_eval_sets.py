"""A report counts repeated inputs once and warns about the limits of its eval sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from lori_cl.registry import Workspace
from lori_cl.reports import FORMATS, gather, to_record
from lori_cl.runtime import SilentProgress
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.training import RunOptions, run_curriculum


def test_repeated_inputs_are_counted_in_every_format_and_tested_once(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> None:
    files = [write_task("a"), write_task("b")]
    test = files[0].parent / "a" / "test.jsonl"
    test.write_text("".join(test.read_text().splitlines(keepends=True)[:4] * 2))
    register_tasks(workspace, files)
    run_curriculum(
        workspace, load_curriculum(write_curriculum("a", "b")), "r", RunOptions(), SilentProgress()
    )
    with workspace.read() as registry:
        report = gather(registry, "r", workspace.artifacts)
        bare = gather(registry, "r")
    (current,) = (view for view in report.views if view.name == "current")
    other = len(set((files[0].parent / "b" / "test.jsonl").read_text().splitlines()))
    assert (current.n, current.distinct) == ((8, 8), (4, other))
    assert current.changes[0].test is not None
    assert current.changes[0].test.n == 4
    assert any("4 of 8 eval examples repeat the input of another" in line for line in report.warnings)
    assert to_record(report)["views"]["current"]["distinct"] == [4, other]
    for name in ("html", "md"):
        assert "distinct" in FORMATS[name]([report]).decode()
        assert "distinct" not in FORMATS[name]([bare]).decode()
    json.dumps(to_record(bare))
