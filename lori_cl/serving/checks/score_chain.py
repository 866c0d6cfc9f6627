"""Check the stage records: a hash chain over every stage's file, task and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lori_cl.errors import LoriError, VerificationError
from lori_cl.registry.stage_records import Cell, RecordLines, StageRecord, scores_since, stage_records
from lori_cl.serving.checks.evidence import Evidence
from lori_cl.serving.checks.files import check_file

NOTHING: Mapping[str, Any] = {}


def score_chain(evidence: Evidence) -> str:
    """Check that every stage's record, computed again from the registry, equals the committed one."""
    records = stage_records(evidence.run, evidence.score_log)
    registered = evidence.registry.artifacts([record.head for record in records])
    without = []
    for record in records:
        where = f"{evidence.at(record.stage)}, the record of its scores"
        if record.head in registered or evidence.artifacts.path(record.head, "jsonl").exists():
            check_file(evidence, where, record.head, "jsonl", registered.get(record.head))
        elif (committed := _committed(evidence, record.stage)) is None:
            without.append(record.stage)
        else:
            raise VerificationError(_change(evidence, record, *committed))
    return _summary(evidence, records, without)


def _summary(evidence: Evidence, records: Sequence[StageRecord], without: Sequence[int]) -> str:
    if not records:
        return "no stage yet"
    found = f"{len(records) - len(without)} of {len(records)} stages, head {records[-1].head}"
    if without:
        stages = ", ".join(str(stage) for stage in without)
        found += f"; an earlier version recorded no score digests for stage {stages}"
    if added := len(scores_since(evidence.run, evidence.score_log)):
        found += f"; {added:,} scores were added after the newest stage; the next stage's record covers them"
    return found


def _committed(evidence: Evidence, stage: int) -> tuple[str, RecordLines] | None:
    """Return (digest, lines) of the record committed with a stage of the run, or None."""
    for sha256 in evidence.registry.unreferenced_artifacts():
        try:
            lines = RecordLines.parse(evidence.artifacts.get(sha256, "jsonl"))
        except LoriError:  # possibly of another run; otherwise the record of this stage counts as missing
            continue
        if lines and (lines.about.get("run"), lines.about.get("stage")) == (evidence.run.name, stage):
            return sha256, lines
    return None


def _change(evidence: Evidence, record: StageRecord, sha256: str, committed: RecordLines) -> str:
    """Describe the first difference between the committed record and the registry now."""
    now = RecordLines.parse(record.content)
    assert now is not None
    path = evidence.artifacts.path(sha256, "jsonl")
    for cell in sorted({*committed.scores, *now.scores}):
        before, after = committed.scores.get(cell, NOTHING), now.scores.get(cell, NOTHING)
        if before != after:
            return f"{_cell(evidence, cell)}: {_differing(before, after, path)}"
    what = _differing(committed.about, now.about, path)
    return f"{evidence.at(record.stage)}: {what}"


def _differing(before: Mapping[str, Any], after: Mapping[str, Any], path: Any) -> str:
    if not before or not after:
        was = "missing" if not before else f"{before['score']:g} by the answers {before['answers']}"
        now = "nothing" if not after else f"{after['score']:g} by the answers {after['answers']}"
        return f"the score in {path}, committed with the stage, was {was}, and the registry says {now}"
    fields = [field for field in before if before[field] != after.get(field)]
    field = "score" if "score" in fields else fields[0]
    values = f"{before[field]}, and the registry says {after.get(field)}"
    return f"{field} in {path}, committed with the stage, is {values}"


def _cell(evidence: Evidence, cell: Cell) -> str:
    stage, task, view = cell
    return f"{evidence.at(stage)}, {task} under {view}"
