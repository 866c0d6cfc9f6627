"""Facts about a run's eval sets, read from their files."""

from __future__ import annotations

from contextlib import suppress

from lori_cl.errors import LoriError
from lori_cl.forgetting.eval_set import EvalRow, EvalSetFacts, eval_set_facts
from lori_cl.forgetting.subset import random_subset
from lori_cl.registry import ArtifactStore, Run, Task
from lori_cl.strict_json import InvalidJSON, parse_json


def facts_by_task(run: Run, artifacts: ArtifactStore) -> dict[str, EvalSetFacts]:
    """Return, by task, facts about the eval set as the run scores it; unreadable eval sets are omitted."""
    facts = {}
    limit = run.curriculum["eval"].get("limit")
    for task in run.scored_tasks:
        with suppress(LoriError, InvalidJSON, UnicodeDecodeError, KeyError, TypeError, ValueError):
            facts[task.label] = eval_set_facts(random_subset(_rows(task, artifacts), limit, task.seed))
    return facts


def _rows(task: Task, artifacts: ArtifactStore) -> list[EvalRow]:
    lines = artifacts.get(task.eval_set.digest, "jsonl").decode().split("\n")
    return [EvalRow.of(task.kind, parse_json(line)) for line in lines if line]
