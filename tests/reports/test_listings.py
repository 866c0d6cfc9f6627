from __future__ import annotations

import json
import re
from dataclasses import replace

from lori_cl.reports import print_run, print_runs, print_task, print_tasks, run_summary, task_record

from .conftest import Recorder, Rendered, add_task


def test_task_list_shows_version_and_eval_set(recorder: Recorder, rendered: Rendered) -> None:
    add_task(recorder.registry, "sst2")
    add_task(recorder.registry, "sst2", description="changed")
    tasks = recorder.registry.tasks()
    digest = tasks[0].eval_set.digest[:8]
    text = rendered(print_tasks, tasks)
    assert re.search(rf"sst2 +1 +classification +accuracy +20 +{digest} +local sst2", text)
    assert re.search(rf"sst2 +2 +classification +accuracy +20 +{digest} +local sst2", text)


def test_unverified_source_is_marked(recorder: Recorder, rendered: Rendered) -> None:
    task = add_task(recorder.registry, "sst2")
    for changed in (
        {"source": {"hub": "stanfordnlp/sst2", "unverified": True}},
        {"source": {"hub": "stanfordnlp/sst2"}, "train": {"source": {"hub": "x", "unverified": True}}},
    ):
        listed = rendered(print_tasks, [replace(task, spec={**task.spec, **changed})])
        assert "hub stanfordnlp/sst2 (unverified)" in listed
    assert "unverified" not in rendered(print_tasks, [task])


def test_empty_task_list_names_add_task(rendered: Rendered) -> None:
    assert "lori-cl add-task" in rendered(print_tasks, [])


def test_task_details_show_the_declaration_and_the_full_digest(
    recorder: Recorder, rendered: Rendered
) -> None:
    task = add_task(recorder.registry, "sst2", description="[b]two[/b] labels")
    text = rendered(print_task, task, width=120)
    assert task.eval_set.digest in text
    assert "source.local: sst2" in text
    assert "labels: no, yes" in text
    assert "[b]two[/b] labels" in text


def test_task_record_is_json(recorder: Recorder) -> None:
    record = json.loads(json.dumps(task_record(add_task(recorder.registry, "sst2"))))
    assert (record["name"], record["version"], record["eval_set"]["n"]) == ("sst2", 1, 20)


def test_run_list_shows_the_number_of_finished_stages(recorder: Recorder, rendered: Rendered) -> None:
    recorder.run("first", rows=((0.6, None, None),))
    text = rendered(print_runs, recorder.registry.runs())
    assert re.search(r"first +lori +7 +1 of 3 +package:tiny/model +20\d\d-", text)


def test_empty_run_list_names_the_run_command(rendered: Rendered) -> None:
    assert "lori-cl run" in rendered(print_runs, [])


def test_run_details_show_finished_and_pending_stages(recorder: Recorder, rendered: Rendered) -> None:
    text = rendered(print_run, recorder.registry.run(recorder.run(rows=((0.6, None, None),))))
    assert re.search(r"1 sst2 +20 +5 +1,000 examples +31 s", text)
    assert re.search(r"3 qqp +20 +pending", text)
    assert "masks.density: 0.1" in text


def test_run_summary_is_json(recorder: Recorder) -> None:
    run = recorder.registry.run(recorder.run(rows=((0.6, None, None),)))
    record = json.loads(json.dumps(run_summary(run)))
    assert (record["name"], record["stages_done"], record["status"]) == ("first", 1, "1 of 3 stages")
    assert record["started"] == run.created_at.isoformat()
