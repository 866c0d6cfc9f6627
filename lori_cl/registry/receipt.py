"""Receipts: lists of a run's stages and scores at one moment, to be stored outside the workspace.

A user with write access to the workspace can rewrite a run and all its digests. A receipt stored elsewhere
reveals this: the run must still start with every stage and score that the receipt lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from lori_cl import digest
from lori_cl.errors import InputError, first_line
from lori_cl.registry.records import Evaluation, Run, Stage
from lori_cl.registry.stage_records import score_line, stage_records
from lori_cl.strict_json import parse_json

FORMAT = "lori_cl receipt 1"
HEAD = re.compile("[0-9a-f]{64}")
MAX_BYTES = 64 << 20
"""Maximum size of a receipt file; a score takes about 250 bytes."""


@dataclass(frozen=True)
class ReceiptStage:
    """A stage in a receipt."""

    stage: int
    task: str
    artifact: str
    head: str
    """SHA-256 of the stage's record."""
    retired_after: int | None


@dataclass(frozen=True)
class ReceiptScore:
    """A score in a receipt."""

    stage: int
    task: str
    view: str
    score: float
    digest: str
    """SHA-256 of the score's record, without its time."""


@dataclass(frozen=True)
class Receipt:
    """The stages and scores of a run at one moment."""

    run: str
    stages: tuple[ReceiptStage, ...]
    scores: tuple[ReceiptScore, ...]

    @property
    def head(self) -> str | None:
        """The head of the newest stage; None before the first one."""
        return self.stages[-1].head if self.stages else None

    @classmethod
    def of(cls, run: Run, scores: Sequence[Evaluation]) -> Self:
        """Create the receipt of a run; `scores` are all its scores in commit order."""
        records = stage_records(run, scores)
        stages = (_stage(stage, record.head) for stage, record in zip(run.stages, records, strict=True))
        return cls(run.name, tuple(stages), tuple(_score(score) for score in scores))

    def to_bytes(self) -> bytes:
        """Serialize as JSON, with one stage or score per line."""
        stages, scores = (_lines(items) for items in (self.stages, self.scores))
        about = {"format": FORMAT, "run": self.run, "head": self.head}
        fields = [f'"{key}": {digest.canonical_json(value)}' for key, value in about.items()]
        fields += [f'"stages": [{stages}]', f'"scores": [{scores}]']
        return ("{\n" + ",\n".join(fields) + "\n}\n").encode()

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a receipt file.

        Raises: InputError, if it is not a receipt.
        """
        return cls.parse(read_bytes(file), file)

    @classmethod
    def parse(cls, content: bytes, file: Path) -> Self:
        """Parse the content of a receipt file.

        Raises: InputError, if it is not a receipt.
        """
        try:
            value = parse_json(content.decode())
            if value["format"] != FORMAT:
                raise ValueError(f"the format is {str(value['format'])[:40]!r}, not '{FORMAT}'")
            stages = tuple(ReceiptStage(**_checked(each, _STAGE)) for each in value["stages"])
            scores = tuple(ReceiptScore(**_checked(each, _SCORE)) for each in value["scores"])
            receipt = cls(str(value["run"]), stages, scores)
            if value["head"] != receipt.head or [s.stage for s in stages] != list(range(1, len(stages) + 1)):
                raise ValueError("its stages do not match its head")
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise InputError(f"{file} is not a lori-cl receipt: {first_line(error)}") from None
        return receipt

    def changes(self, now: Receipt) -> Iterator[str]:
        """Yield a description of every difference from the receipt's stages and scores."""
        if len(now.stages) < len(self.stages):
            missing = ", ".join(f"{s.stage} {s.task}" for s in self.stages[len(now.stages) :])
            yield (
                f"the run has {len(now.stages)} stages and the receipt lists {len(self.stages)}: "
                f"stage {missing} is missing"
            )
        for before, after in zip(self.stages, now.stages, strict=False):
            yield from _changes_of_stage(before, after, len(self.stages))
        current = {(s.stage, s.task, s.view): s for s in now.scores}
        for score in self.scores:
            yield from _changes_of_score(score, current.get((score.stage, score.task, score.view)))
        yield from self._changed_head(now)

    def _changed_head(self, now: Receipt) -> Iterator[str]:
        """Yield the first stage with another head: not every change of a head shows in the other lines."""
        for before, after in zip(self.stages, now.stages, strict=False):
            if before.head != after.head:
                yield (
                    f"stage {before.stage} {before.task}: the head is {after.head}, but the receipt lists "
                    f"{before.head}: a score, a stage file, a task or the base model was changed in this or "
                    "an earlier stage"
                )
                return


def read_bytes(file: Path) -> bytes:
    """Read a receipt file's content.

    Raises: InputError, if it cannot be read or is too large for a receipt.
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(f"{file} has {file.stat().st_size:,} bytes; the maximum is {MAX_BYTES:,}")
        return file.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {first_line(error)}") from None


_STAGE: Mapping[str, tuple[type, ...]] = {
    "stage": (int,),
    "task": (str,),
    "artifact": (str,),
    "head": (str,),
    "retired_after": (int, type(None)),
}
_SCORE: Mapping[str, tuple[type, ...]] = {
    "stage": (int,),
    "task": (str,),
    "view": (str,),
    "score": (float, int),
    "digest": (str,),
}


def _checked(value: Any, fields: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != fields.keys():
        raise ValueError(f"an entry does not have the fields {', '.join(fields)}")
    for name, types in fields.items():
        if not isinstance(value[name], types) or isinstance(value[name], bool):
            raise ValueError(f"invalid value {str(value[name])[:40]!r} of '{name}'")
    return value


def _lines(items: Sequence[ReceiptStage | ReceiptScore]) -> str:
    lines = ",\n".join(digest.canonical_json(asdict(item)) for item in items)
    return f"\n{lines}\n" if lines else ""


def _stage(stage: Stage, head: str) -> ReceiptStage:
    return ReceiptStage(stage.position, stage.task, stage.artifact, head, stage.retired_after)


def _score(score: Evaluation) -> ReceiptScore:
    line = score_line(score)
    return ReceiptScore(score.stage, score.task, line["view"], line["score"], digest.of_json(line))


def _changes_of_stage(before: ReceiptStage, after: ReceiptStage, stages: int) -> Iterator[str]:
    where = f"stage {before.stage} {before.task}"
    if before.task != after.task:
        yield f"{where}: the task is {after.task}, but the receipt lists {before.task}"
    if before.artifact != after.artifact:
        yield f"{where}: the file is {after.artifact}, but the receipt lists {before.artifact}"
    retired, since = before.retired_after, after.retired_after
    if retired != since and (retired is not None or since is None or since < stages):
        yield f"{where}: it is retired after stage {since}, but the receipt lists {retired}"


def _changes_of_score(before: ReceiptScore, after: ReceiptScore | None) -> Iterator[str]:
    where = f"stage {before.stage}, {before.task} under {before.view}"
    if after is None:
        yield f"{where}: the score is missing; the receipt lists {before.score:g}"
    elif after.score != before.score:
        yield f"{where}: the score is {after.score!r}, but the receipt lists {before.score!r}"
    elif after.digest != before.digest:
        yield f"{where}: the score is equal, but its answers, inputs, source or error changed"
