"""Tasks of lm-evaluation-harness, as general abilities of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lori_cl.errors import InputError, SpecError
from lori_cl.registry import Workspace
from lori_cl.reports import gather
from lori_cl.runtime import SilentProgress
from lori_cl.serving.verify import verify
from lori_cl.spec import load_curriculum, load_task
from lori_cl.task_data import register_tasks
from lori_cl.tasks import read_task
from lori_cl.training import RunOptions, run_curriculum
from tests.tiny import tiny_curriculum

pytest.importorskip("lm_eval", reason="needs the extra lm-eval")


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Define a task for lm-evaluation-harness, and return the task file that names it."""
    definitions = tmp_path / "definitions"
    definitions.mkdir()
    data = definitions / "test.jsonl"
    rows = [{"q": f"it is {c}", "options": ["red", "blue"], "gold": i % 2} for i, c in enumerate("abcdef")]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    definition = {
        "task": "colours_of_test",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "{{options}}",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (definitions / "colours.yaml").write_text(yaml.safe_dump(definition))
    monkeypatch.setenv("LORI_CL_LM_EVAL_TASKS", str(definitions))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "general.yaml"
    file.write_text(yaml.safe_dump({"name": "general", "kind": "lm-eval", "task": "colours_of_test"}))
    return file


def test_documents_and_version_are_recorded(declared: Path) -> None:
    data = read_task(load_task(declared), declared.parent)
    assert len(data.held_out) == 6
    assert data.held_out[0].text == "it is a"
    assert data.held_out[1].row_values()["gold"] == 1
    assert vars(data.task)["harness_version"]


def test_unknown_task_is_refused(declared: Path) -> None:
    declared.write_text(yaml.safe_dump({"name": "general", "kind": "lm-eval", "task": "no_such_task"}))
    with pytest.raises(InputError, match="lm-eval cannot load the task 'no_such_task'"):
        read_task(load_task(declared), declared.parent)


@pytest.mark.parametrize("name", ["../definitions/colours.yaml", "colours.yaml", "*", "/etc/x", ""])
def test_files_and_patterns_are_refused(declared: Path, name: str) -> None:
    declared.write_text(yaml.safe_dump({"name": "general", "kind": "lm-eval", "task": name}))
    with pytest.raises(SpecError, match="task should be a name of lm-evaluation-harness"):
        load_task(declared)


def test_task_file_cannot_set_the_version(declared: Path) -> None:
    fields = {"name": "general", "kind": "lm-eval", "task": "colours_of_test", "harness_version": "1"}
    declared.write_text(yaml.safe_dump(fields))
    with pytest.raises(SpecError, match="'harness_version' is written by add-task"):
        load_task(declared)


def test_task_stands_beside_the_tasks_of_a_run_and_verifies(
    workspace: Workspace,
    declared: Path,
    tiny_causal_lm: Path,
    write_task: Callable[..., Path],
    tmp_path: Path,
) -> None:
    task = write_task("colours", prompt="{{ text }}", label_words=[" red", " blue"])
    register_tasks(workspace, [declared, task])
    file = tmp_path / "curriculum.yaml"
    fields: dict[str, Any] = tiny_curriculum(tiny_causal_lm, ["colours"], eval={"also": ["general"]})
    file.write_text(yaml.safe_dump(fields))
    run_curriculum(workspace, load_curriculum(file), "run", RunOptions(), SilentProgress())
    with workspace.read() as registry:
        (ability,) = gather(registry, "run", workspace.artifacts).general
        assert list(verify(workspace, registry, "run", SilentProgress()))
        scores = [e for e in registry.evaluations("run") if e.task == "general"]
    assert ability.n == 6
    assert all(cell is not None for cell in ability.cells)
    assert {outcome for score in scores for outcome in score.outcomes} <= {0.0, 1.0}
