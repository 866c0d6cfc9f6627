"""Receipts: what a run's stages and scores were at one moment, to be kept outside the workspace.

A user who can write the workspace can rewrite a run with every digest in it. A receipt that is kept elsewhere
shows that: later, the run must still begin with everything that the receipt lists.
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
from lori_cl.strict_json import decoded

FORMAT = "lori_cl receipt 1"
HEAD = re.compile("[0-9a-f]{64}")
MAX_BYTES = 64 << 20
"""A receipt takes about 250 bytes a score."""


@dataclass(frozen=True)
class ReceiptStage:
    """A stage as a receipt lists it."""

    stage: int
    task: str
    artifact: str
    head: str
    """SHA-256 of the stage's record."""
    retired_after: int | None


@dataclass(frozen=True)
class ReceiptScore:
    """A score as a receipt lists it."""

    stage: int
    task: str
    view: str
    score: float
    digest: str
    """Of all that the registry says of the score, but its time."""


@dataclass(frozen=True)
class Receipt:
    """What a run was at one moment."""

    run: str
    stages: tuple[ReceiptStage, ...]
    scores: tuple[ReceiptScore, ...]

    @property
    def head(self) -> str | None:
        """The head of the newest stage; None before the first one."""
        return self.stages[-1].head if self.stages else None

    @classmethod
    def of(cls, run: Run, scores: Sequence[Evaluation]) -> Self:
        """The receipt of a run as it is; `scores` are all its scores in the order of their commits."""
        records = stage_records(run, scores)
        stages = (_stage(stage, record.head) for stage, record in zip(run.stages, records, strict=True))
        return cls(run.name, tuple(stages), tuple(_score(score) for score in scores))

    def to_bytes(self) -> bytes:
        """The file: JSON, one stage or score a line."""
        stages, scores = (_lines(items) for items in (self.stages, self.scores))
        about = {"format": FORMAT, "run": self.run, "head": self.head}
        fields = [f'"{key}": {digest.canonical_json(value)}' for key, value in about.items()]
        fields += [f'"stages": [{stages}]', f'"scores": [{scores}]']
        return ("{\n" + ",\n".join(fields) + "\n}\n").encode()

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a receipt's file.

        Raises: InputError, if it is none.
        """
        return cls.parse(read_bytes(file), file)

    @classmethod
    def parse(cls, content: bytes, file: Path) -> Self:
        """The receipt in the content of a file.

        Raises: InputError, if it is none.
        """
        try:
            told = decoded(content.decode())
            if told["format"] != FORMAT:
                raise ValueError(f"its format is {str(told['format'])[:40]!r}, not '{FORMAT}'")
            stages = tuple(ReceiptStage(**_checked(each, _STAGE)) for each in told["stages"])
            scores = tuple(ReceiptScore(**_checked(each, _SCORE)) for each in told["scores"])
            read = cls(str(told["run"]), stages, scores)
            if told["head"] != read.head or [s.stage for s in stages] != list(range(1, len(stages) + 1)):
                raise ValueError("its stages do not end with its head")
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise InputError(f"{file} is no receipt of lori-cl: {first_line(error)}") from None
        return read

    def changes(self, now: Receipt) -> Iterator[str]:
        """Everything that the receipt lists and that is no longer so, each in words."""
        if len(now.stages) < len(self.stages):
            lost = ", ".join(f"{s.stage} {s.task}" for s in self.stages[len(now.stages) :])
            yield (
                f"the run has {len(now.stages)} stages and the receipt {len(self.stages)}: "
                f"stage {lost} is not there"
            )
        for before, after in zip(self.stages, now.stages, strict=False):
            yield from _changes_of_stage(before, after, len(self.stages))
        current = {(s.stage, s.task, s.view): s for s in now.scores}
        for score in self.scores:
            yield from _changes_of_score(score, current.get((score.stage, score.task, score.view)))
        yield from self._changed_head(now)

    def _changed_head(self, now: Receipt) -> Iterator[str]:
        """The first stage of which the head differs: a change that the lines above need not show."""
        for before, after in zip(self.stages, now.stages, strict=False):
            if before.head != after.head:
                yield (
                    f"stage {before.stage} {before.task}: the head is {after.head} and the receipt says "
                    f"{before.head}: a score, a stage's file, a task or the base model was changed up to here"
                )
                return


def read_bytes(file: Path) -> bytes:
    """Raises: InputError, if the file cannot be read, or is larger than any receipt."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(f"{file} has {file.stat().st_size:,} bytes; a receipt has at most {MAX_BYTES:,}")
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
        raise ValueError(f"a line has other fields than {', '.join(fields)}")
    for name, types in fields.items():
        if not isinstance(value[name], types) or isinstance(value[name], bool):
            raise ValueError(f"'{name}' is {str(value[name])[:40]!r}")
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
        yield f"{where}: its task is {after.task} and the receipt says {before.task}"
    if before.artifact != after.artifact:
        yield f"{where}: its file is {after.artifact} and the receipt says {before.artifact}"
    retired, since = before.retired_after, after.retired_after
    if retired != since and (retired is not None or since is None or since < stages):
        yield f"{where}: it is retired after stage {since} and the receipt says {retired}"


def _changes_of_score(before: ReceiptScore, after: ReceiptScore | None) -> Iterator[str]:
    where = f"stage {before.stage}, {before.task} under {before.view}"
    if after is None:
        yield f"{where}: there is no score and the receipt has {before.score:g}"
    elif after.score != before.score:
        yield f"{where}: the score is {after.score!r} and the receipt says {before.score!r}"
    elif after.digest != before.digest:
        yield f"{where}: the score is the same, and its answers, inputs, source or error were changed"
