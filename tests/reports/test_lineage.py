"""The lineage of a run, in every format that shows it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lori_cl.registry import Run
from lori_cl.reports import FORMATS, RunReport, print_lineage, print_report, to_record

from .conftest import ENVIRONMENT, Recorder, Rendered, add_task

HUB = {"local": "qqp", "hub": "nyu-mll/glue", "config": "qqp", "revision": "c0ffee"}


@pytest.fixture
def report_with_two_environments(worked_report: RunReport) -> RunReport:
    """Return the worked example with a third stage that was computed with another torch version."""
    first, second, third = worked_report.run.stages
    in_other_environment = replace(
        third, environment={**ENVIRONMENT, "torch": "2.7.0", "git_revision": "decade"}
    )
    in_same_environment = replace(second, environment=ENVIRONMENT)
    return replace(
        worked_report,
        run=replace(worked_report.run, stages=(first, in_same_environment, in_other_environment)),
    )


def lines_of(rendered: Rendered, run: Run) -> list[str]:
    text: str = rendered(print_lineage, run, width=200)
    return [line.strip() for line in text.splitlines()]


def test_lineage_shows_full_digests(worked_report: RunReport, rendered: Rendered) -> None:
    lines = lines_of(rendered, worked_report.run)
    stage, task = worked_report.run.stages[1], worked_report.run.tasks[1]
    assert stage.mask is not None
    assert f"base model: package:tiny/model, revision none, digest {worked_report.run.base_digest}" in lines
    assert f"artifact: digest {stage.artifact}" in lines
    assert f"mask: magnitude, 5 cells, digest {stage.mask.digest}" in lines
    assert f"trained on: 1,000 examples, 12 truncated, digest {stage.train_digest}" in lines
    assert f"eval set: 20 examples, digest {task.eval_set.digest}" in lines
    assert "seeds: mask 11, train 22, head 33" in lines
    assert "torch: 2.6.0" in lines


def test_lineage_shows_the_declared_sources_with_the_hub_revision(
    recorder: Recorder, rendered: Rendered
) -> None:
    run = recorder.registry.run(recorder.run(rows=[]))
    task = replace(run.tasks[2], spec={"source": HUB, "train": {"source": {"local": "more"}}})
    lines = lines_of(rendered, replace(run, tasks=(*run.tasks[:2], task)))
    assert "Stage 3 qqp, pending" in lines
    assert "source: local qqp or hub nyu-mll/glue, config qqp, revision c0ffee" in lines
    assert "training source: local more" in lines


def test_every_format_names_a_stage_computed_in_another_environment(
    report_with_two_environments: RunReport, rendered: Rendered
) -> None:
    difference = "torch 2.7.0 (2.6.0 when the run started), git_revision decade (none when the run started)"
    assert (
        lines_of(rendered, report_with_two_environments.run).count(f"environment changes: {difference}") == 1
    )
    assert f"stage 3 qqp: {difference}" in rendered(print_report, [report_with_two_environments], width=200)
    assert f"- stage 3 qqp: {difference}" in FORMATS["md"]([report_with_two_environments]).decode().replace(
        "\\", ""
    )
    assert FORMATS["html"]([report_with_two_environments]).decode().count(difference) == 1
    stages = to_record(report_with_two_environments)["lineage"]["stages"]
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
