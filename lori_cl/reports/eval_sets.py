"""What a run's eval sets can show, read from their files."""

from __future__ import annotations

from contextlib import suppress

from lori_cl.errors import LoriError
from lori_cl.forgetting.eval_set import EvalRow, EvalSetFacts, eval_set_facts
from lori_cl.forgetting.subset import drawn
from lori_cl.registry import ArtifactStore, Run, Task
from lori_cl.strict_json import NoJSON, decoded


def facts_by_task(run: Run, artifacts: ArtifactStore) -> dict[str, EvalSetFacts]:
    """By task, the facts of its eval set as the run scores it; a report goes without those it cannot read."""
    found = {}
    limit = run.curriculum["eval"].get("limit")
    for task in run.tasks:
        with suppress(LoriError, NoJSON, UnicodeDecodeError, KeyError, TypeError, ValueError):
            found[task.label] = eval_set_facts(drawn(_rows(task, artifacts), limit, task.seed))
    return found


def _rows(task: Task, artifacts: ArtifactStore) -> list[EvalRow]:
    lines = artifacts.get(task.eval_set.digest, "jsonl").decode().split("\n")
    return [EvalRow.of(task.kind, decoded(line)) for line in lines if line]
