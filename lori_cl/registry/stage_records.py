"""Stage records: a hash chain over the stages of a run and all their scores.

The record of a stage is a small JSON Lines artifact. Its first line contains the digests of the previous
stage's record, the stage's own file, the task and the base model; every other line is one score. The SHA-256
of the file, the head, therefore covers every stage and every score up to then. All records can be recomputed
from the registry, so runs of earlier versions, which stored no records, have heads as well.

Format 1 writes `proved` for a cached score, as the registry did up to schema 0005. The word stays the same,
because the heads of earlier runs and the digests in their receipts depend on it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from lori_cl import digest
from lori_cl.registry.records import EARLIER_CACHED, Evaluation, Run

FORMAT = "lori_cl stage record 1"

Cell = tuple[int, str, str]
"""(stage, task, view) of a score."""


@dataclass(frozen=True)
class StageRecord:
    """The record of one stage."""

    stage: int
    content: bytes
    """Content of the file."""

    @property
    def head(self) -> str:
        """SHA-256 of the file."""
        return digest.of_bytes(self.content)


@dataclass(frozen=True)
class RecordLines:
    """The parsed content of a record."""

    about: Mapping[str, Any]
    """The first line: run, stage, task, files, and the head of the previous stage."""
    scores: Mapping[Cell, Mapping[str, Any]]

    @classmethod
    def parse(cls, content: bytes) -> RecordLines | None:
        """Parse a stage record; return None if the content is something else."""
        try:
            about, *scores = [json.loads(line) for line in content.decode().splitlines()]
            if about["format"] != FORMAT:
                return None
            return cls(about, {(e["stage"], e["task"], e["view"]): _in_current_words(e) for e in scores})
        except (ValueError, TypeError, LookupError):
            return None


def stage_records(run: Run, scores: Sequence[Evaluation]) -> list[StageRecord]:
    """Compute the records of all stages of a run, in order.

    `scores` are all its scores in commit order. A record contains the scores committed with its stage and
    those committed since the previous stage: row 0, and scores added to an earlier stage (`lori-cl route`,
    `--upper-triangle`).
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
    """Return the scores committed after the newest stage, which no record contains yet."""
    return scores[max(_ends(run, scores), default=0) :]


def score_line(score: Evaluation) -> dict[str, Any]:
    """Return all fields of a score except its time; the digest of its answers covers the outcomes."""
    return {
        "stage": score.stage,
        "task": score.task,
        "view": str(score.view),
        "metric": score.metric,
        "score": float(score.score),
        "n": score.n,
        "stderr": None if score.stderr is None else float(score.stderr),
        "parts": {name: float(value) for name, value in score.parts.items()},
        "source": EARLIER_CACHED if score.source == "cached" else score.source,
        "input_digest": score.input_digest,
        "n_truncated": score.n_truncated,
        "answers": score.answers,
    }


def _in_current_words(line: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**line, "source": "cached"} if line["source"] == EARLIER_CACHED else line


def in_commit_order(run: Run, scores: Sequence[Evaluation]) -> list[Evaluation]:
    """Order the scores to commit with a stage: scores of later tasks come first.

    The last row must be a score that every commit of a stage contains: see `_ends`.
    """
    return sorted(scores, key=_is_own(run))


def _ends(run: Run, scores: Sequence[Evaluation]) -> list[int]:
    """Return, for each stage, the number of scores after its commit."""
    is_own, last = _is_own(run), dict.fromkeys(range(1, len(run.stages) + 1), 0)
    for index, score in enumerate(scores, start=1):
        if is_own(score) and score.stage in last:
            last[score.stage] = index
    return list(accumulate(last.values(), max))


def _is_own(run: Run) -> Callable[[Evaluation], bool]:
    """Return a test for scores that are always committed with their stage; no command adds them later."""
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
