from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.registry import Workspace
from lori_cl.spec import load_task, task_from_record
from lori_cl.spec.in_memory import Generation
from lori_cl.task_data import register_tasks
from lori_cl.tasks import eval_examples, from_jsonl, to_jsonl, train_examples


def test_task_registered_before_a_field_existed_keeps_its_version(
    workspace: Workspace, write_task: Callable[..., Path]
) -> None:
    file = write_task("a")
    spec = load_task(file)
    examples = eval_examples(spec, file.parent)
    older = {field: value for field, value in spec.to_record().items() if field != "description"}
    content = to_jsonl(examples)
    eval_set = (workspace.artifacts.put(content, "jsonl"), len(examples), len(content))
    with workspace.open() as registry:
        registry.add_task(older, eval_set, str(file.parent))
    (repeated,) = register_tasks(workspace, [file])
    assert (repeated.task.version, repeated.is_new) == (1, False)


def test_eval_set_of_a_single_file_is_frozen_and_never_trained_on(
    workspace: Workspace, tmp_path: Path
) -> None:
    rows = [f"it is number {i},{('odd', 'even')[i % 2]}\n" for i in range(40)]
    data, file = tmp_path / "numbers.csv", tmp_path / "numbers.yaml"
    data.write_text("text,label\n" + "".join(rows[:30]))
    file.write_text(
        "name: numbers\nkind: classification\nsource: {local: numbers.csv}\nlabels: [odd, even]\n"
        "eval: {fraction: 0.3}\n"
    )
    (added,) = register_tasks(workspace, [file])
    held_out = {e.text for e in from_jsonl(workspace.artifacts.get(added.task.eval_set.digest, "jsonl"))}
    data.write_text("text,label\n" + "".join(reversed(rows)))
    spec = task_from_record(added.task.spec)
    train = {e.text for e in train_examples(spec, workspace.source_folder(added.task))}
    assert train.isdisjoint(held_out)
    assert len(held_out) >= 3
    assert len(train) >= 20


def test_task_in_memory_with_a_scorer_function_records_its_source(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = "def grade(answer, targets, row):\n    return 1\n"
    Path("mine.py").write_text(source)
    rows = [{"q": f"q {i}", "a": "yes"} for i in range(4)]
    fields = {"prompt": "{{ q }}", "answer": "{{ a }}", "metric": "mine.py:grade"}
    (added,) = register_tasks(workspace, [Generation("own", train=rows[:2], eval=rows[2:], **fields)])
    assert added.task.spec["scorer_source"] == source


def test_adding_a_task_again_after_its_scorer_changed_is_a_new_version(
    workspace: Workspace, write_task: Callable[..., Path]
) -> None:
    file = write_task("a", metric="mine.py:grade")
    scorer = file.parent / "mine.py"
    for text, expected in (("1", (1, True)), ("1", (1, False)), ("0.5", (2, True))):
        scorer.write_text(f"def grade(answer, targets, row):\n    return {text}\n")
        (added,) = register_tasks(workspace, [file])
        assert (added.task.version, added.is_new) == expected
