"""What a run was made from, in every format that tells it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lori_cl.registry import Run
from lori_cl.reports import FORMATS, RunReport, print_lineage, print_report, to_record

from .conftest import ENVIRONMENT, Recorder, Shown, add_task

HUB = {"local": "qqp", "hub": "nyu-mll/glue", "config": "qqp", "revision": "c0ffee"}


@pytest.fixture
def moved(worked: RunReport) -> RunReport:
    """The worked example, its third stage computed with another torch and one thread more."""
    first, second, third = worked.run.stages
    elsewhere = replace(third, environment={**ENVIRONMENT, "torch": "2.7.0", "git_revision": "decade"})
    at_home = replace(second, environment=ENVIRONMENT)
    return replace(worked, run=replace(worked.run, stages=(first, at_home, elsewhere)))


def lines_of(shown: Shown, run: Run) -> list[str]:
    text: str = shown(print_lineage, run, width=200)
    return [line.strip() for line in text.splitlines()]


def test_lineage_tells_every_digest_whole(worked: RunReport, shown: Shown) -> None:
    lines = lines_of(shown, worked.run)
    stage, task = worked.run.stages[1], worked.run.tasks[1]
    assert stage.mask is not None
    assert f"base model: package:tiny/model, revision none, digest {worked.run.base_digest}" in lines
    assert f"artifact: digest {stage.artifact}" in lines
    assert f"mask: magnitude, 5 cells, digest {stage.mask.digest}" in lines
    assert f"learned from: 1,000 examples, 12 cut, digest {stage.train_digest}" in lines
    assert f"scored on: 20 examples, digest {task.eval_set.digest}" in lines
    assert "seeds: mask 11, train 22, head 33" in lines
    assert "torch: 2.6.0" in lines


def test_lineage_tells_the_sources_as_declared_with_the_hubs_revision(
    recorder: Recorder, shown: Shown
) -> None:
    run = recorder.registry.run(recorder.run(rows=[]))
    task = replace(run.tasks[2], spec={"source": HUB, "train": {"source": {"local": "more"}}})
    lines = lines_of(shown, replace(run, tasks=(*run.tasks[:2], task)))
    assert "Stage 3 qqp, to come" in lines
    assert "source: local qqp or hub nyu-mll/glue, config qqp, revision c0ffee" in lines
    assert "source of what is learned: local more" in lines


def test_a_stage_computed_with_something_else_is_named_in_every_format(
    moved: RunReport, shown: Shown
) -> None:
    told = "torch 2.7.0 (2.6.0 when the run began), git_revision decade (none when the run began)"
    assert lines_of(shown, moved.run).count(f"computed with: {told}") == 1
    assert f"stage 3 qqp: {told}" in shown(print_report, [moved], width=200)
    assert f"- stage 3 qqp: {told}" in FORMATS["md"]([moved]).decode().replace("\\", "")
    assert FORMATS["html"]([moved]).decode().count(told) == 1
    stages = to_record(moved)["lineage"]["stages"]
    assert [stage["environment"] and stage["environment"]["torch"] for stage in stages] == [
        None,
        None,
        "2.7.0",
    ]


def test_lineage_as_json_names_the_data_of_every_task(recorder: Recorder) -> None:
    task = add_task(recorder.registry, "sst2")
    run = recorder.registry.run(recorder.run())
    record = json.loads(FORMATS["json"]([RunReport(run, (), None)]))
    assert record["lineage"]["data"][0] == {
        "task": "sst2",
        "source": {"local": "sst2", "hub": None},
        "train": None,
        "eval": None,
        "eval_set": {"digest": task.eval_set.digest, "n": 20},
    }
