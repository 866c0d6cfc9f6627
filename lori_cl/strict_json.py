"""Strict JSON: no duplicate keys, only finite numbers, and output without control characters."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any


class InvalidJSON(ValueError):
    """The text is not valid JSON; the message gives the reason."""

    def __init__(self, what: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(what)
        self.line = line
        self.column = column


def parse_json(text: str) -> Any:
    """Parse a JSON value.

    Raises: InvalidJSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)
    except InvalidJSON:
        raise
    except json.JSONDecodeError as error:
        raise InvalidJSON(error.msg, error.lineno, error.colno) from None
    except (ValueError, RecursionError):  # a number of thousands of digits; deep nesting
        raise InvalidJSON("too large or too deep") from None


def dump_json(
    value: Any, *, indent: int | None = None, is_displayable: Callable[[str], bool] = str.isprintable
) -> str:
    """Serialize a value as JSON that is safe to print on a terminal.

    Characters that are not printable, or for which `is_displayable` is false, become escapes such as \\u202e.
    A float that is not finite becomes null.
    """
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite_only(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return escape_json(text, is_displayable)


def _finite_only(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite_only(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_only(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def escape_json(text: str, is_displayable: Callable[[str], bool] = str.isprintable) -> str:
    """Escape characters of JSON text that are not printable or for which `is_displayable` is false."""

    def replacement(match: re.Match[str]) -> str:
        return match[0] if _is_shown(match[0], is_displayable) else _escape(match[0])

    return _NOT_ASCII.sub(replacement, text)


_NOT_ASCII = re.compile(r"[^\n -~]")


def _is_shown(character: str, is_displayable: Callable[[str], bool]) -> bool:
    return character.isprintable() and is_displayable(character)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def array_items(text: str, longest: int) -> Iterator[Any]:
    """Yield the items of an array, each of at most `longest` characters.

    Raises: InvalidJSON; TypeError, if the text is a JSON value of another type.
    """
    if text.startswith("\ufeff"):
        raise InvalidJSON("Unexpected UTF-8 BOM (decode using utf-8-sig)", 1, 1)
    at = _skip_spaces(text, 0)
    if text[at : at + 1] != "[":
        if len(text) <= longest:
            parse_json(text)
        raise TypeError("not an array")
    at = _skip_spaces(text, at + 1)
    if text[at : at + 1] == "]":
        at = _skip_spaces(text, at + 1)
    else:
        while True:
            item, at = _item(text, at, longest)
            yield item
            at = _skip_spaces(text, at)
            if text[at : at + 1] == "]":
                at = _skip_spaces(text, at + 1)
                break
            if text[at : at + 1] != ",":
                raise _invalid_json("Expecting ',' delimiter", text, at)
            at = _skip_spaces(text, at + 1)
    if at < len(text):
        raise _invalid_json("Extra data", text, at)


def _item(text: str, at: int, longest: int) -> tuple[Any, int]:
    """Return the value that begins at an offset, and the offset of its end."""
    before: tuple[str, int] | None = None
    for window in (2**12, 2**17, longest):
        part = text[at : at + window]
        is_last = at + len(part) == len(text)
        try:
            value, end = _DECODER.raw_decode(part)
        except json.JSONDecodeError as error:
            # The same error with more text is not caused by the cut, except for an unterminated string.
            same = (error.msg, error.pos) == before and not error.msg.startswith("Unterminated")
            before = (error.msg, error.pos)
            if is_last or same:
                raise _invalid_json(error.msg, text, at + error.pos) from None
            continue
        except InvalidJSON:
            raise
        except (ValueError, RecursionError):
            raise InvalidJSON("too large or too deep") from None
        if is_last or end < len(part):  # a number at the end of a part may be cut
            return value, at + end
    raise _invalid_json(f"an item has more than {longest:,} characters", text, at)


def _skip_spaces(text: str, at: int) -> int:
    found = _SPACES.match(text, at)
    return at if found is None else found.end()


def _invalid_json(what: str, text: str, at: int) -> InvalidJSON:
    return InvalidJSON(what, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise InvalidJSON(f"duplicate key '{name}' in one object")
    return found


def _constant(name: str) -> float:
    raise InvalidJSON(f"{name} is not a finite number; use null for a missing value")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidJSON(f"number {text[:20]} is too large")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)
_SPACES = re.compile(r"[ \t\n\r]*")
