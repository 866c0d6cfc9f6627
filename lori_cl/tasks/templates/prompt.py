"""The sandbox of a task's templates: they read a row, and write texts and numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes, pass_environment

from lori_cl.tasks.templates.budget import CHECKS, Budget
from lori_cl.tasks.templates.counting import BUDGET, Counting
from lori_cl.tasks.templates.environment import BoundedEnvironment, NoText, kind_of_value

LISTED = " listed"
"""The filter that writes a list as JSON; no template can name it."""
WRITABLE = (str, int, float, Decimal, date, time, timedelta)
"""What a template may write; a truth value is an int, a timestamp a date."""

FILTERS = (
    *("abs", "attr", "count", "d", "default", "dictsort", "first", "float", "groupby", "int"),
    *("items", "last", "length", "list", "map", "max", "min", "reject", "rejectattr", "reverse"),
    *("select", "selectattr", "sort", "unique"),
)
"""Jinja's own that take a time that grows with their input, and give the same result each time."""
TEXT_FILTERS = ("capitalize", "lower", "string", "title", "trim", "truncate", "upper", "wordcount")
"""Jinja's own that make a text of whatever they are given."""
METHODS = frozenset(
    {
        *("capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdecimal"),
        *("isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "lower", "lstrip", "partition"),
        *("removeprefix", "removesuffix", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split"),
        *("splitlines", "startswith", "strip", "swapcase", "title", "upper"),
    }
)
"""Those of a text that make nothing longer than it."""


class PromptEnvironment(BoundedEnvironment):
    """The sandbox of task templates."""

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,  # a misspelt column is an error, not an empty string
            keep_trailing_newline=True,
        )
        own = {name: f for name, f in self.filters.items() if name.startswith(" ")}
        self.filters = {
            **{name: self.filters[name] for name in (*FILTERS, "join", "replace", "format")},
            **{name: _of_text(name, self.filters[name]) for name in TEXT_FILTERS},
            "round": _round,
            "tojson": _to_json,
            LISTED: _listed,
            **own,
        }

    def check_written(self, value: Any, text: str) -> None:
        """Only texts and numbers are written; a null or a structure is refused."""
        if isinstance(value, Undefined):
            str(value)  # raises
        if not isinstance(value, WRITABLE):
            how = "" if value is None else "; write one of its parts, or use join or tojson"
            raise NoText(f"{{{{ {text} }}}} writes a {kind_of_value(value)}, not a text{how}")

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Of a text, only what makes nothing longer."""
        return super().is_safe_attribute(obj, attr, value) and not (
            isinstance(obj, str | bytes) and attr not in METHODS
        )

    def wrap_str_format(self, value: Any) -> None:
        """None: `format` is no method of a text here; the filter of that name is there."""


def _of_text(name: str, applied: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that refuses to make a text of a null or a structure."""
    first = 1 if hasattr(applied, "jinja_pass_arg") else 0

    def checked(environment: PromptEnvironment, value: Any, *args: Any, **kwargs: Any) -> Any:
        for text in (value, *(each for each in (*args, *kwargs.values()) if each is not None)):
            environment.check_written(text, f"… | {name}")
        if name == "trim":
            CHECKS["strip"](str(value), *args, *kwargs.values())
        return applied(*[environment][:first], value, *args, **kwargs)

    return pass_environment(checked)


def _round(value: float, digits: int = 0) -> float:
    return round(float(value), int(digits))


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _listed(value: Any) -> str:
    if not isinstance(value, list | tuple | Iterator):
        raise NoText(f"it gives a {kind_of_value(value)}, not a list")
    return json.dumps(list(value), default=str)


SANDBOX = PromptEnvironment()
_compiled = lru_cache(maxsize=64)(SANDBOX.compiled)


@lru_cache(maxsize=64)
def _list_expression(template: str) -> Any:
    """A template whose one expression gives a list, as one that writes the list as JSON."""
    pieces = [p for output in SANDBOX.parsed(template).find_all(nodes.Output) for p in output.nodes]
    found = [p for p in pieces if not (isinstance(p, nodes.TemplateData) and not p.data.strip())]
    if len(found) != 1 or isinstance(found[0], nodes.TemplateData):
        raise NoText(f"'{template[:80]}' is not one expression in {{{{ }}}} that gives a list")
    written = nodes.Filter(found[0], LISTED, [], [], None, None, lineno=1)
    whole = nodes.Template([nodes.Output([written], lineno=1)], lineno=1).set_environment(SANDBOX)
    return SANDBOX.from_string(Counting().visit(whole).set_environment(SANDBOX))


def fill_list(template: str, row: Mapping[str, Any]) -> list[Any]:
    """The list that a template's one expression gives for a row; Raises: as `fill`."""
    values: list[Any] = json.loads(_list_expression(template).render({**row, BUDGET: Budget()}))
    return values


def fill(template: str, row: Mapping[str, Any]) -> str:
    """The template with the row's columns in it.

    Raises: TooMuch, NoText, what Jinja raises, and what the template's own computation raises.
    """
    text: str = _compiled(template).render({**row, BUDGET: Budget()})
    return text
