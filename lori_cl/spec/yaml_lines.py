"""Parse YAML and record the line of every field for error messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lori_cl.errors import SpecError, first_line

MAX_BYTES = 256 * 1024
"""Maximum size of one file. PyYAML reads it in a third of a second; typical specs have a few kB."""
MAX_TOKENS = 10_000
"""Maximum number of tokens of one file, enough for 5,000 labels; PyYAML reads them in 0.25 s."""
MAX_LEVELS = 32
"""Maximum nesting depth of lists and mappings; a spec needs four levels."""
MAX_DIGITS = 100
"""Maximum number of characters of one number; the parsing time of some notations grows quadratically."""

Location = tuple[int | str, ...]
"""The path of a field in the document: ("train", "epochs"), or ("tasks", 2)."""


YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""Errors that PyYAML raises: its own, and uncaught errors of int(), datetime and table lookups."""


TAG = "tag:yaml.org,2002:"
PLAIN = frozenset(TAG + kind for kind in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map"))
NUMBERS = frozenset({TAG + "int", TAG + "float"})


class RejectedYAML(yaml.MarkedYAMLError):
    """Valid YAML that a spec may not contain."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class PlainLoader(yaml.SafeLoader):
    """Load text, numbers, lists and mappings of limited size; reject aliases and other tags.

    With aliases, a few lines can expand to a billion, a mapping can contain itself, and --set changes two
    fields. A merge hides a duplicate field, and the order of a set differs between processes.
    """

    def fetch_more_tokens(self) -> None:
        """Reject a document as soon as it is too long or nested too deeply."""
        if self.tokens_taken > MAX_TOKENS:
            raise RejectedYAML(f"too many YAML tokens; a spec has at most {MAX_TOKENS:,}", self.get_mark())
        if self.flow_level + len(self.indents) > MAX_LEVELS:
            raise RejectedYAML(f"nested too deeply; a spec has at most {MAX_LEVELS} levels", self.get_mark())
        super().fetch_more_tokens()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Reject aliases, numbers that are too long, and tags that are not in PLAIN."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise RejectedYAML(f"'*{event.anchor}' is a YAML alias; write the value out", event.start_mark)
        node = super().compose_node(parent, index)
        if node is not None and node.tag not in PLAIN:
            tag = node.tag.removeprefix(TAG)
            raise RejectedYAML(
                f"'{tag}' is not plain text, a number, a list or a mapping; put text in quotes",
                node.start_mark,
            )
        if node is not None and node.tag in NUMBERS and len(node.value) > MAX_DIGITS:
            raise RejectedYAML(
                f"a number has {len(node.value):,} characters; the maximum is {MAX_DIGITS}", node.start_mark
            )
        return node


@dataclass(frozen=True)
class Document:
    """A YAML mapping and the line of each of its fields."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[Location, int]
    """The line of every field, counted from 1."""

    def where(self, location: Location) -> str:
        """Return 'FILE, line N' of a field, or of the nearest enclosing field that is in the file."""
        while location and location not in self.lines:
            location = location[:-1]
        return f"{self.path}, line {self.lines.get(location, 1)}"


def read_document(path: Path) -> Document:
    """Read one YAML file that holds one mapping.

    Raises: SpecError, if the file is missing, too large, not YAML, not a mapping, or contains a field twice.
    """
    text = _read_text(path)
    try:
        node, data = parse(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = error.problem if isinstance(error, RejectedYAML) else f"invalid YAML: {error.problem}"
        raise SpecError(f"{path}, line {line}: {problem}") from None
    except YAML_ERRORS as error:
        raise SpecError(f"{path}: invalid YAML: {first_line(error)}") from None
    if not isinstance(node, yaml.MappingNode) or not isinstance(data, dict):
        raise SpecError(f"{path}, line 1: expected 'field: value' lines, found {type(data).__name__}")
    lines: dict[Location, int] = {(): 1}
    _collect_lines(path, node, (), lines)
    return Document(path, data, lines)


def parse(text: str) -> tuple[yaml.Node | None, Any]:
    """Parse a text with one document; return its nodes, which know their lines, and its plain values.

    Raises: one of YAML_ERRORS.
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
    except (OSError, ValueError) as error:  # no permission, a name that is too long, a null byte in the name
        problem = error.strerror if isinstance(error, OSError) else error
        raise SpecError(f"{str(path)[:80]}: cannot be read: {problem}") from None


def _checked_text(path: Path) -> str:
    if not path.is_file():
        near = f"; available: {_yaml_files_in(path.parent)}" if path.parent.is_dir() else ""
        raise SpecError(f"{path}: no such file{near}")
    if path.stat().st_size > MAX_BYTES:
        raise SpecError(f"{path}: {path.stat().st_size:,} bytes; a spec has at most {MAX_BYTES:,}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


def _yaml_files_in(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir() if p.suffix in {".yaml", ".yml"})
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "") if names else "no YAML files"


def _collect_lines(path: Path, node: yaml.Node, at: Location, lines: dict[Location, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*at, str(key.value))
            line = key.start_mark.line + 1
            if place in lines:
                raise SpecError(
                    f"{path}, line {line}: '{key.value}' is already set in line {lines[place]}; remove one"
                )
            lines[place] = line
            _collect_lines(path, key, place, lines)
            _collect_lines(path, value, place, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[*at, index] = item.start_mark.line + 1
            _collect_lines(path, item, (*at, index), lines)
    else:
        _require_encodable(path, node)


def _require_encodable(path: Path, node: yaml.Node) -> None:
    try:
        node.value.encode()
    except UnicodeEncodeError:
        raise SpecError(
            f"{path}, line {node.start_mark.line + 1}: text contains half a character (a lone surrogate)"
        ) from None
