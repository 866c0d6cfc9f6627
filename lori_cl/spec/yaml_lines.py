"""YAML with the line of every field, so that an error can point at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lori_cl.errors import SpecError, first_line

MAX_BYTES = 256 * 1024
"""Of one file: PyYAML reads so many in a third of a second, and what people write has a few thousand."""
MAX_TOKENS = 10_000
"""Names, values and signs of one file, which PyYAML reads in a quarter of a second: 5,000 labels, say."""
MAX_LEVELS = 32
"""Lists and mappings inside one another; a spec needs four."""
MAX_DIGITS = 100
"""Characters of one number: some notations take a time that grows with their square."""

Location = tuple[int | str, ...]
"""A field's place in the document: ("train", "epochs"), or ("tasks", 2)."""


UNREADABLE = (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What PyYAML raises: its own errors, and those of int(), datetime and its tables, which it lets through."""


TAG = "tag:yaml.org,2002:"
PLAIN = frozenset(TAG + kind for kind in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map"))
NUMBERS = frozenset({TAG + "int", TAG + "float"})


class Refused(yaml.MarkedYAMLError):
    """What is YAML, and not taken all the same."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class PlainLoader(yaml.SafeLoader):
    """Text, numbers, lists and mappings, of limited size, and neither aliases nor tags beside them.

    With aliases a few lines can stand for a billion, a mapping can hold itself, and --set changes two fields;
    a merge hides a field that stands twice, and a set has another order in every process.
    """

    def fetch_more_tokens(self) -> None:
        """Refuse what is too long or too deep as soon as it is read so far."""
        if self.tokens_taken > MAX_TOKENS:
            raise Refused(f"a spec has at most {MAX_TOKENS:,} names, values and signs", self.get_mark())
        if self.flow_level + len(self.indents) > MAX_LEVELS:
            raise Refused(f"a spec is at most {MAX_LEVELS} levels deep", self.get_mark())
        super().fetch_more_tokens()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases, numbers that are too long, and what is not plain."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise Refused(f"'*{event.anchor}' stands for another place; write it out", event.start_mark)
        node = super().compose_node(parent, index)
        if node is not None and node.tag not in PLAIN:
            what = node.tag.removeprefix(TAG)
            raise Refused(
                f"'{what}' is no plain text, number, list or mapping; quote what is text", node.start_mark
            )
        if node is not None and node.tag in NUMBERS and len(node.value) > MAX_DIGITS:
            raise Refused(
                f"a number of {len(node.value):,} characters; at most {MAX_DIGITS}", node.start_mark
            )
        return node


@dataclass(frozen=True)
class Document:
    """A YAML mapping and where each of its fields stands."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[Location, int]
    """The line of every field, counted from 1."""

    def where(self, location: Location) -> str:
        """'FILE, line N' of a field, or of the nearest field around it that stands in the file."""
        while location and location not in self.lines:
            location = location[:-1]
        return f"{self.path}, line {self.lines.get(location, 1)}"


def read_document(path: Path) -> Document:
    """Read one YAML file that holds one mapping.

    Raises: SpecError, if the file is missing, too large, no YAML, no mapping, or names a field twice.
    """
    text = _read_text(path)
    try:
        node, data = parse(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = error.problem if isinstance(error, Refused) else f"this is no YAML: {error.problem}"
        raise SpecError(f"{path}, line {line}: {what}") from None
    except UNREADABLE as error:
        raise SpecError(f"{path}: this is no YAML: {first_line(error)}") from None
    if not isinstance(node, yaml.MappingNode) or not isinstance(data, dict):
        raise SpecError(f"{path}, line 1: expected 'field: value' lines, found {type(data).__name__}")
    lines: dict[Location, int] = {(): 1}
    _collect_lines(path, node, (), lines)
    return Document(path, data, lines)


def parse(text: str) -> tuple[yaml.Node | None, Any]:
    """The one document in the text, as nodes that know their lines and as plain values.

    Raises: one of UNREADABLE.
    """
    loader = PlainLoader(text)
    try:
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _read_text(path: Path) -> str:
    try:
        return _checked_text(path)
    except (OSError, ValueError) as error:  # no right to read it, a name too long, a null byte in it
        what = error.strerror if isinstance(error, OSError) else error
        raise SpecError(f"{str(path)[:80]}: cannot be read: {what}") from None


def _checked_text(path: Path) -> str:
    if not path.is_file():
        near = f"; there are: {_neighbours(path)}" if path.parent.is_dir() else ""
        raise SpecError(f"{path}: no such file{near}")
    if path.stat().st_size > MAX_BYTES:
        raise SpecError(f"{path}: {path.stat().st_size:,} bytes; a spec has at most {MAX_BYTES:,}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


def _neighbours(path: Path) -> str:
    names = sorted(p.name for p in path.parent.iterdir() if p.suffix in {".yaml", ".yml"})
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "") if names else "no YAML files there"


def _collect_lines(path: Path, node: yaml.Node, at: Location, lines: dict[Location, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*at, str(key.value))
            line = key.start_mark.line + 1
            if place in lines:
                raise SpecError(
                    f"{path}, line {line}: '{key.value}' stands here and in line {lines[place]}; keep one"
                )
            lines[place] = line
            _collect_lines(path, key, place, lines)
            _collect_lines(path, value, place, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[*at, index] = item.start_mark.line + 1
            _collect_lines(path, item, (*at, index), lines)
    else:
        _require_whole_characters(path, node)


def _require_whole_characters(path: Path, node: yaml.Node) -> None:
    try:
        node.value.encode()
    except UnicodeEncodeError:
        raise SpecError(f"{path}, line {node.start_mark.line + 1}: half a character (a surrogate)") from None
