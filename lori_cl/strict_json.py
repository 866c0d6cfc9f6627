"""JSON as the standard has it: a name stands once in an object, numbers are finite, and it can be printed."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any


class NoJSON(ValueError):
    """A text that is no JSON; its message says why in a few words."""

    def __init__(self, what: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(what)
        self.line = line
        self.column = column


def decoded(text: str) -> Any:
    """The value; Raises: NoJSON."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)
    except NoJSON:
        raise
    except json.JSONDecodeError as error:
        raise NoJSON(error.msg, error.lineno, error.colno) from None
    except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists in lists
        raise NoJSON("too large or too deep") from None


def encoded(value: Any, *, indent: int | None = None, shows: Callable[[str], bool] = str.isprintable) -> str:
    """The value as JSON in which no character can control a terminal: those, and others that `shows` rejects,
    are escapes such as \\u202e. A float that is not finite is null."""
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite_only(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return escaped(text, shows)


def _finite_only(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite_only(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_only(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def escaped(text: str, shows: Callable[[str], bool] = str.isprintable) -> str:
    """JSON text with characters that are not printable, or that `shows` rejects, as escapes."""
    return _UNUSUAL.sub(lambda found: found[0] if _is_shown(found[0], shows) else _escape(found[0]), text)


_UNUSUAL = re.compile(r"[^\n -~]")


def _is_shown(character: str, shows: Callable[[str], bool]) -> bool:
    return character.isprintable() and shows(character)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def array_items(text: str, longest: int) -> Iterator[Any]:
    """The items of an array one after another, each of at most `longest` characters.

    Raises: NoJSON; TypeError, if the text is another JSON value.
    """
    if text.startswith("\ufeff"):
        raise NoJSON("Unexpected UTF-8 BOM (decode using utf-8-sig)", 1, 1)
    at = _skip_spaces(text, 0)
    if text[at : at + 1] != "[":
        if len(text) <= longest:
            decoded(text)
        raise TypeError("no array")
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
                raise _no_json("Expecting ',' delimiter", text, at)
            at = _skip_spaces(text, at + 1)
    if at < len(text):
        raise _no_json("Extra data", text, at)


def _item(text: str, at: int, longest: int) -> tuple[Any, int]:
    """(the value that begins at a place, where it ends)."""
    before: tuple[str, int] | None = None
    for window in (2**12, 2**17, longest):
        part = text[at : at + window]
        whole = at + len(part) == len(text)
        try:
            value, end = _DECODER.raw_decode(part)
        except json.JSONDecodeError as error:
            # An error that more text does not change is none of having cut it, but for an endless string.
            same = (error.msg, error.pos) == before and not error.msg.startswith("Unterminated")
            before = (error.msg, error.pos)
            if whole or same:
                raise _no_json(error.msg, text, at + error.pos) from None
            continue
        except NoJSON:
            raise
        except (ValueError, RecursionError):
            raise NoJSON("too large or too deep") from None
        if whole or end < len(part):  # a number at the end of a part may have been cut
            return value, at + end
    raise _no_json(f"an item has at most {longest:,} characters", text, at)


def _skip_spaces(text: str, at: int) -> int:
    found = _SPACES.match(text, at)
    return at if found is None else found.end()


def _no_json(what: str, text: str, at: int) -> NoJSON:
    return NoJSON(what, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise NoJSON(f"'{name}' stands twice in one object")
    return found


def _constant(name: str) -> float:
    raise NoJSON(f"{name} is no number; write null where there is none")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NoJSON(f"{text[:20]} is too large a number")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)
_SPACES = re.compile(r"[ \t\n\r]*")
