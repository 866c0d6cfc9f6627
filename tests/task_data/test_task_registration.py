from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lori_cl.registry import Workspace
from lori_cl.spec import load_task
from lori_cl.task_data import register_tasks
from lori_cl.tasks import eval_examples, to_jsonl


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
