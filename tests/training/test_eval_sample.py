"""`eval.sample` scores a sample of an eval set between a task's own stage and the last stage."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from lori_cl.errors import VerificationError
from lori_cl.registry import Evaluation, Run, Workspace
from lori_cl.reports import gather
from lori_cl.reports.phrases import SAMPLED, notes
from lori_cl.runtime import SilentProgress
from lori_cl.serving.remeasure import RemeasureOptions, remeasure
from lori_cl.serving.verify import verify
from lori_cl.spec import EvalSpec
from lori_cl.training import Gate, RunOptions

Scores = Callable[..., dict[tuple[int, str, str], Evaluation]]
WHOLE, SAMPLE = 8, 5
EVAL = {"batch_size": 4, "sample": SAMPLE, "views": ["as_trained", "current", "routed"]}
SAMPLED_CELLS = {(2, "a", "current"), (2, "a", "routed")}


@pytest.fixture
def sampled_run(train_run: Callable[..., Run], train_once: Callable[[Callable[[], object]], None]) -> None:
    train_once(lambda: train_run("a", "b", "c", eval=EVAL))


@pytest.mark.usefixtures("sampled_run")
def test_only_scores_between_the_own_and_the_last_stage_are_on_the_sample(scores: Scores) -> None:
    found = scores()
    assert {key for key, score in found.items() if score.n == SAMPLE} == SAMPLED_CELLS
    assert {score.n for key, score in found.items() if key not in SAMPLED_CELLS} == {WHOLE}
    assert all(score.stderr is not None for score in found.values())


@pytest.mark.usefixtures("sampled_run")
def test_every_sampled_score_is_on_the_same_examples(scores: Scores, workspace: Workspace) -> None:
    found = scores()
    read = [workspace.artifacts.get(found[key].answers, "jsonl").decode() for key in sorted(SAMPLED_CELLS)]
    ids = [[json.loads(line)["id"] for line in lines.splitlines()] for lines in read]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == SAMPLE


@pytest.mark.usefixtures("sampled_run")
def test_sampling_changes_no_other_score(train_run: Callable[..., Run], scores: Scores) -> None:
    train_run(
        "a", "b", "c", name="whole", eval={**EVAL, "sample": None}, options=RunOptions(measure_all=True)
    )
    whole, sampled = scores("whole"), scores()
    assert {key for key in whole if whole[key].outcomes != sampled[key].outcomes} == SAMPLED_CELLS
    assert {key for key in whole if whole[key].input_digest != sampled[key].input_digest} == SAMPLED_CELLS


@pytest.mark.usefixtures("sampled_run")
def test_sampled_run_is_verified_and_measured_again(workspace: Workspace) -> None:
    with workspace.open() as registry:
        assert len(list(verify(workspace, registry, "run", SilentProgress()))) > 5
        *_, last = remeasure(workspace, registry, "run", RemeasureOptions(), SilentProgress())
    assert "none was left out" in last.found


@pytest.mark.usefixtures("sampled_run")
def test_score_on_a_sample_where_the_whole_set_is_due_is_found(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["lori_cl.serving.checks.scores"], "is_sampled", lambda *_: False)
    with workspace.open() as registry, pytest.raises(VerificationError, match="the examples in"):
        list(verify(workspace, registry, "run", SilentProgress()))


@pytest.mark.usefixtures("sampled_run")
def test_report_marks_scores_on_a_sample(workspace: Workspace) -> None:
    with workspace.read() as registry:
        report = gather(registry, "run")
    marks = {
        (row.stage, task, view.name)
        for view in report.views
        for row in view.rows()
        for task, entry in zip(view.matrix.tasks, row.entries, strict=True)
        if entry is not None and "~" in entry.mark
    }
    assert marks == SAMPLED_CELLS
    assert SAMPLED in notes([report])


def test_extended_run_keeps_its_former_last_stage_on_the_whole_set(
    train_run: Callable[..., Run], scores: Scores
) -> None:
    train_run("a", "b", eval=EVAL)
    train_run("a", "b", "c", eval=EVAL)
    assert {score.n for score in scores().values()} == {WHOLE}


def test_gate_compares_whole_sets(train_run: Callable[..., Run], scores: Scores) -> None:
    train_run("a", "b", "c", eval=EVAL, options=RunOptions(gate=Gate(max_drop=100.0)))
    found = scores()
    assert found[2, "a", "current"].n == WHOLE
    assert found[2, "a", "routed"].n == SAMPLE


def test_gate_ignores_earlier_scores_on_other_examples() -> None:
    whole = Evaluation(1, "a", "current", "accuracy", 1.0, 8, None, "measured", "0", 0, 0.0, "0", (1.0,) * 8)
    sample = replace(whole, stage=2, n=5, outcomes=(1.0,) * 5)
    now = replace(whole, stage=3, score=0.0, outcomes=(0.0,) * 8)
    assert Gate(1.0).drops([whole, sample], [now]) == Gate(1.0).drops([whole], [now]) != []


def test_sample_without_a_view_that_reads_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'eval.sample' is only used in the views current and routed"):
        EvalSpec.model_validate({"sample": 5, "views": ["as_trained"]})


def test_record_without_a_sample_has_no_such_field() -> None:
    assert "sample" not in EvalSpec().model_dump(mode="json")
    assert EvalSpec(sample=3).model_dump(mode="json")["sample"] == 3
