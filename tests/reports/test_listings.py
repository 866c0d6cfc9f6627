from __future__ import annotations

import json
import re
from dataclasses import replace

from lori_cl.reports import print_run, print_runs, print_task, print_tasks, run_summary, task_record

from .conftest import Recorder, Shown, add_task


def test_tasks_are_listed_with_version_and_eval_set(recorder: Recorder, shown: Shown) -> None:
    add_task(recorder.registry, "sst2")
    add_task(recorder.registry, "sst2", description="changed")
    tasks = recorder.registry.tasks()
    digest = tasks[0].eval_set.digest[:8]
    text = shown(print_tasks, tasks)
    assert re.search(rf"sst2 +1 +classification +accuracy +20 +{digest} +local sst2", text)
    assert re.search(rf"sst2 +2 +classification +accuracy +20 +{digest} +local sst2", text)


def test_a_source_that_nobody_checked_is_marked(recorder: Recorder, shown: Shown) -> None:
    task = add_task(recorder.registry, "sst2")
    for changed in (
        {"source": {"hub": "stanfordnlp/sst2", "unverified": True}},
        {"source": {"hub": "stanfordnlp/sst2"}, "train": {"source": {"hub": "x", "unverified": True}}},
    ):
        listed = shown(print_tasks, [replace(task, spec={**task.spec, **changed})])
        assert "hub stanfordnlp/sst2 (unverified)" in listed
    assert "unverified" not in shown(print_tasks, [task])


def test_no_tasks_say_how_to_add_one(shown: Shown) -> None:
    assert "lori-cl add-task" in shown(print_tasks, [])


def test_a_task_shows_its_declaration_and_whole_digest(recorder: Recorder, shown: Shown) -> None:
    task = add_task(recorder.registry, "sst2", description="[b]two[/b] labels")
    text = shown(print_task, task, width=120)
    assert task.eval_set.digest in text
    assert "source.local: sst2" in text
    assert "labels: no, yes" in text
    assert "[b]two[/b] labels" in text


def test_a_tasks_record_is_json(recorder: Recorder) -> None:
    record = json.loads(json.dumps(task_record(add_task(recorder.registry, "sst2"))))
    assert (record["name"], record["version"], record["eval_set"]["n"]) == ("sst2", 1, 20)


def test_runs_are_listed_with_how_far_they_are(recorder: Recorder, shown: Shown) -> None:
    recorder.run("first", rows=((0.6, None, None),))
    text = shown(print_runs, recorder.registry.runs())
    assert re.search(r"first +lori +7 +1 of 3 +package:tiny/model +20\d\d-", text)


def test_no_runs_say_how_to_begin_one(shown: Shown) -> None:
    assert "lori-cl run" in shown(print_runs, [])


def test_a_run_shows_stages_done_and_to_come(recorder: Recorder, shown: Shown) -> None:
    text = shown(print_run, recorder.registry.run(recorder.run(rows=((0.6, None, None),))))
    assert re.search(r"1 sst2 +20 +5 +1,000 examples +31 s", text)
    assert re.search(r"3 qqp +20 +to come", text)
    assert "masks.density: 0.1" in text


def test_a_runs_summary_is_json(recorder: Recorder) -> None:
    run = recorder.registry.run(recorder.run(rows=((0.6, None, None),)))
    record = json.loads(json.dumps(run_summary(run)))
    assert (record["name"], record["stages_done"], record["status"]) == ("first", 1, "1 of 3 stages")
