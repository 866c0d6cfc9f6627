"""Stage records: a hash chain over the stages of a run and all their scores.

The record of a stage is a small JSON Lines file among the artifacts. Its first line names the record of the
stage before, the stage's own file, the task and the base model; each other line is one score. The SHA-256 of
the file, the head, therefore covers every stage and every score up to then. Every record can be made again
from the registry, so a run of an earlier version, which stored none, has heads as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from lori_cl import digest
from lori_cl.registry.records import Evaluation, Run

FORMAT = "lori_cl stage record 1"

Cell = tuple[int, str, str]
"""(stage, task, view) of a score."""


@dataclass(frozen=True)
class StageRecord:
    """The record of one stage."""

    stage: int
    content: bytes
    """The file."""

    @property
    def head(self) -> str:
        """SHA-256 of the file."""
        return digest.of_bytes(self.content)


@dataclass(frozen=True)
class RecordLines:
    """What a record's file says."""

    about: Mapping[str, Any]
    """The first line: run, stage, task, files, and the head of the stage before."""
    scores: Mapping[Cell, Mapping[str, Any]]

    @classmethod
    def parse(cls, content: bytes) -> RecordLines | None:
        """None where the content is no stage record."""
        try:
            about, *scores = [json.loads(line) for line in content.decode().splitlines()]
            if about["format"] != FORMAT:
                return None
            return cls(about, {(e["stage"], e["task"], e["view"]): e for e in scores})
        except (ValueError, TypeError, LookupError):
            return None


def stage_records(run: Run, scores: Sequence[Evaluation]) -> list[StageRecord]:
    """The records of all stages of a run, in order.

    `scores` are all its scores in the order of their commits. A record holds the scores that were committed
    with its stage, and those that were committed since the stage before: row 0, and scores that were added to
    an earlier stage (`lori-cl route`, `--upper-triangle`).
    """
    records: list[StageRecord] = []
    previous, begin = None, 0
    for position, end in enumerate(_ends(run, scores), start=1):
        lines = [_about(run, position, previous), *map(score_line, _sorted(scores[begin:end]))]
        content = "".join(digest.canonical_json(line) + "\n" for line in lines).encode()
        records.append(StageRecord(position, content))
        previous, begin = records[-1].head, end
    return records


def scores_since(run: Run, scores: Sequence[Evaluation]) -> Sequence[Evaluation]:
    """The scores that no record holds yet, since they were committed after the newest stage."""
    return scores[max(_ends(run, scores), default=0) :]


def score_line(score: Evaluation) -> dict[str, Any]:
    """All of a score but its time; the digest of its answers covers the outcomes."""
    return {
        "stage": score.stage,
        "task": score.task,
        "view": str(score.view),
        "metric": score.metric,
        "score": float(score.score),
        "n": score.n,
        "stderr": None if score.stderr is None else float(score.stderr),
        "parts": {name: float(value) for name, value in score.parts.items()},
        "source": score.source,
        "input_digest": score.input_digest,
        "n_truncated": score.n_truncated,
        "answers": score.answers,
    }


def in_commit_order(run: Run, scores: Sequence[Evaluation]) -> list[Evaluation]:
    """The scores of the newest stage, about to be committed: those of tasks still to come first.

    The last row of a commit must be one that every commit of a stage has: see `_ends`.
    """
    return sorted(scores, key=_is_own(run))


def _ends(run: Run, scores: Sequence[Evaluation]) -> list[int]:
    """Of each stage, how many scores were there after its commit."""
    is_own, last = _is_own(run), dict.fromkeys(range(1, len(run.stages) + 1), 0)
    for index, score in enumerate(scores, start=1):
        if is_own(score) and score.stage in last:
            last[score.stage] = index
    return list(accumulate(last.values(), max))


def _is_own(run: Run) -> Callable[[Evaluation], bool]:
    """Whether a score was committed together with its stage: no command adds one like it later."""
    position = {task.label: index for index, task in enumerate(run.tasks, start=1)}
    views = {str(view) for view in run.curriculum["eval"]["views"]}

    def is_own(score: Evaluation) -> bool:
        return 0 < position.get(score.task, math.inf) <= score.stage and str(score.view) in views

    return is_own


def _about(run: Run, position: int, previous: str | None) -> dict[str, Any]:
    stage, task = run.stages[position - 1], run.tasks[position - 1]
    return {
        "format": FORMAT,
        "run": run.name,
        "base": run.base_digest,
        "stage": position,
        "task": task.label,
        "declaration": digest.of_json(dict(task.spec)),
        "eval_set": task.eval_set.digest,
        "artifact": stage.artifact,
        "previous": previous,
    }


def _sorted(scores: Sequence[Evaluation]) -> list[Evaluation]:
    return sorted(scores, key=lambda score: (score.stage, score.task, str(score.view)))
