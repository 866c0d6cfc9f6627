"""Rendered examples, and their JSON Lines serialization."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lori_cl import digest
from lori_cl.errors import ArtifactDamaged, DataError, first_line
from lori_cl.strict_json import InvalidJSON, parse_json

COMPLETION = "{{ completion }}"
"""The placeholder for the completion in a program."""

LATER = frozenset({"choices", "check", "answers", "grades", "turns", "row"})
"""Fields that only some kinds use; omitted from the file if empty."""

Turn = tuple[str, str]
"""A turn of a conversation: its role (system, user, assistant or tool) and its text."""


@dataclass(frozen=True)
class Example:
    """A rendered input and its expected output."""

    id: int
    """Row number in the source's split, from 0."""
    text: str
    """The input, after the prompt template."""
    target: str
    """The label, the reference answer, or the correct choice."""
    choices: tuple[str, ...] = ()
    """The choices of a multiple-choice task."""
    check: str = ""
    """The data that an answer is checked with instead of the target: a program with a placeholder for the
    completion, or `refuse` or `answer`."""
    answers: tuple[str, ...] = ()
    """All reference answers, the target first, if there are several; the best match counts."""
    grades: tuple[float, ...] = ()
    """The marks for a match of each of the answers, if they differ."""
    turns: tuple[Turn, ...] = ()
    """The turns of the prompt, if it is a conversation; `text` is the same as plain text."""
    row: str = ""
    """The columns of the row as JSON, if the task's metric reads them."""

    @property
    def golds(self) -> tuple[str, ...]:
        """All reference answers; only the target if there is one."""
        return self.answers or (self.target,)

    @property
    def graded_golds(self) -> tuple[tuple[str, float], ...]:
        """Each reference answer with the marks for a match."""
        golds = self.golds
        return tuple(zip(golds, self.grades or (1.0,) * len(golds), strict=True))

    def row_values(self) -> Mapping[str, Any]:
        """Return the columns of the row by name."""
        values: Mapping[str, Any] = parse_json(self.row) if self.row else {}
        return values

    def texts(self) -> tuple[str, ...]:
        """Return every text of the example."""
        turns = (text for turn in self.turns for text in turn)
        return (self.text, self.target, self.check, self.row, *self.choices, *self.answers, *turns)


def check_encodable(example: Example, where: str) -> None:
    """Make sure that an example can be encoded as UTF-8.

    Raises: DataError, if a text contains half of a character (a lone surrogate).
    """
    try:
        "".join(example.texts()).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise DataError(f"{where}: {half} is half of a character (a lone surrogate)") from None


def to_jsonl(examples: Sequence[Example]) -> bytes:
    """Serialize examples as JSON Lines, one object per line."""
    records = (asdict(e) for e in examples)
    # Empty fields are omitted, so that older eval sets keep their digests when a field is added.
    kept = ({key: value for key, value in record.items() if value or key not in LATER} for record in records)
    return "".join(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n" for record in kept).encode()


def from_jsonl(raw: bytes) -> list[Example]:
    """Parse the output of `to_jsonl`.

    Raises: ArtifactDamaged, naming the first line that is not an example.
    """
    try:
        # Not splitlines(): a text may contain U+2028, which JSON does not escape.
        lines = raw.decode().split("\n")
    except UnicodeDecodeError as error:
        raise ArtifactDamaged(f"byte {error.start} of an eval set is not UTF-8") from None
    return [_example(line, number) for number, line in enumerate(lines, start=1) if line]


def _example(line: str, number: int) -> Example:
    try:
        record = parse_json(line)
        record |= {field: tuple(record.get(field, ())) for field in ("choices", "answers", "grades")}
        record["turns"] = tuple((role, text) for role, text in record.get("turns", ()))
        example = Example(**record)
    except (InvalidJSON, TypeError, ValueError, AttributeError) as error:
        raise ArtifactDamaged(
            f"line {number} of an eval set is not an example: {first_line(error)}"
        ) from None
    if type(example.id) is not int or not all(isinstance(text, str) for text in example.texts()):
        raise ArtifactDamaged(f"line {number} of an eval set is not an example: a field has the wrong type")
    if example.grades and not _are_grades(example):
        raise ArtifactDamaged(f"line {number} of an eval set is not an example: a grade is not valid")
    return example


def _are_grades(example: Example) -> bool:
    """Whether every reference answer has a grade above 0 and at most 1."""
    fit = all(type(grade) in (int, float) and 0 < grade <= 1 for grade in example.grades)
    return fit and len(example.grades) == len(example.golds)


def examples_digest(examples: Sequence[Example]) -> str:
    """Return the SHA-256 of `to_jsonl`."""
    return digest.of_bytes(to_jsonl(examples))
