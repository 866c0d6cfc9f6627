"""One example as a model meets it, and how a set of them is written down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from lori_cl import digest
from lori_cl.errors import ArtifactDamaged, DataError, first_line
from lori_cl.strict_json import NoJSON, decoded

COMPLETION = "{{ completion }}"
"""The place in a program for what the model wrote."""

LATER = frozenset({"choices", "check", "answers"})
"""Fields that not every kind has."""


@dataclass(frozen=True)
class Example:
    """A rendered input and what is wanted for it."""

    id: int
    """Its row in the source's split, counted from 0."""
    text: str
    """The input, after the prompt template."""
    target: str
    """The label, the answer to be written, or the right choice."""
    choices: tuple[str, ...] = ()
    """Those of a multiple-choice task."""
    check: str = ""
    """What an answer is held against where that is not the target: a program with a place for the
    completion, or whether to `refuse` or to `answer`."""
    answers: tuple[str, ...] = ()
    """Every right answer, the target first, where there are several; the best match counts."""

    @property
    def golds(self) -> tuple[str, ...]:
        """Every right answer; the target alone where there is one."""
        return self.answers or (self.target,)

    def texts(self) -> tuple[str, ...]:
        """Every text of it."""
        return (self.text, self.target, self.check, *self.choices, *self.answers)


def check_whole_characters(example: Example, where: str) -> None:
    """Make sure that an example can be written down.

    Raises: DataError, if half of a character (a lone surrogate) stands in it.
    """
    try:
        "".join(example.texts()).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise DataError(f"{where}: {half} is half of a character (a lone surrogate)") from None


def to_jsonl(examples: Sequence[Example]) -> bytes:
    """One JSON object a line."""
    records = (asdict(e) for e in examples)
    # Without what is empty, so that an eval set keeps its digest from before there was such a field.
    kept = ({key: value for key, value in record.items() if value or key not in LATER} for record in records)
    return "".join(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n" for record in kept).encode()


def from_jsonl(raw: bytes) -> list[Example]:
    """Undo `to_jsonl`.

    Raises: ArtifactDamaged, naming the first line that is no example.
    """
    try:
        # Not splitlines(): a text may hold U+2028, which JSON leaves as it is.
        lines = raw.decode().split("\n")
    except UnicodeDecodeError as error:
        raise ArtifactDamaged(f"an eval set's byte {error.start} is not UTF-8") from None
    return [_example(line, number) for number, line in enumerate(lines, start=1) if line]


def _example(line: str, number: int) -> Example:
    try:
        record = decoded(line)
        record |= {field: tuple(record.get(field, ())) for field in ("choices", "answers")}
        example = Example(**record)
    except (NoJSON, TypeError, AttributeError) as error:
        raise ArtifactDamaged(f"an eval set's line {number} is no example: {first_line(error)}") from None
    if type(example.id) is not int or not all(isinstance(text, str) for text in example.texts()):
        raise ArtifactDamaged(f"an eval set's line {number} is no example: a field is of another kind")
    return example


def examples_digest(examples: Sequence[Example]) -> str:
    """SHA-256 of `to_jsonl`."""
    return digest.of_bytes(to_jsonl(examples))
