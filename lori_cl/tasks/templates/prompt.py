"""The sandbox for a task's templates, which read a row and write text and numbers."""

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
from lori_cl.tasks.templates.environment import BoundedEnvironment, UnwritableValue, kind_of_value

LISTED = " listed"
"""The filter that writes a list as JSON; a template cannot use it itself."""
WRITABLE = (str, int, float, Decimal, date, time, timedelta)
"""Types that a template may write; a bool is an int, and a timestamp is a date."""

FILTERS = (
    *("abs", "attr", "count", "d", "default", "dictsort", "first", "float", "groupby", "int"),
    *("items", "last", "length", "list", "map", "max", "min", "reject", "rejectattr", "reverse"),
    *("select", "selectattr", "sort", "unique"),
)
"""Jinja's built-in filters that are deterministic and whose time grows with the input only."""
TEXT_FILTERS = ("capitalize", "lower", "string", "title", "trim", "truncate", "upper", "wordcount")
"""Jinja's built-in filters that convert any value to text."""
METHODS = frozenset(
    {
        *("capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdecimal"),
        *("isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "lower", "lstrip", "partition"),
        *("removeprefix", "removesuffix", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split"),
        *("splitlines", "startswith", "strip", "swapcase", "title", "upper"),
    }
)
"""Methods of a text whose result is not longer than the text."""


class PromptEnvironment(BoundedEnvironment):
    """The sandbox for task templates."""

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
            LISTED: _write_list,
            **own,
        }

    def check_written(self, value: Any, text: str) -> None:
        """Allow text and numbers; reject null and structures."""
        if isinstance(value, Undefined):
            str(value)  # raises
        if not isinstance(value, WRITABLE):
            how = "" if value is None else "; write one of its parts, or use join or tojson"
            raise UnwritableValue(f"{{{{ {text} }}}} writes a {kind_of_value(value)}, not text{how}")

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Allow only the METHODS of a text."""
        return super().is_safe_attribute(obj, attr, value) and not (
            isinstance(obj, str | bytes) and attr not in METHODS
        )

    def wrap_str_format(self, value: Any) -> None:
        """Return None: the method `format` is not available; the filter `format` is."""


def _of_text(name: str, applied: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter to reject null and structures."""
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


def _write_list(value: Any) -> str:
    if not isinstance(value, list | tuple | Iterator):
        raise UnwritableValue(f"it gives a {kind_of_value(value)}, not a list")
    return json.dumps(list(value), default=str)


SANDBOX = PromptEnvironment()
_compiled = lru_cache(maxsize=64)(SANDBOX.compiled)


@lru_cache(maxsize=64)
def _list_expression(template: str) -> Any:
    """Compile a template with one list expression to a template that writes the list as JSON."""
    pieces = [p for output in SANDBOX.parsed(template).find_all(nodes.Output) for p in output.nodes]
    found = [p for p in pieces if not (isinstance(p, nodes.TemplateData) and not p.data.strip())]
    if len(found) != 1 or isinstance(found[0], nodes.TemplateData):
        raise UnwritableValue(f"'{template[:80]}' is not one expression in {{{{ }}}} that gives a list")
    written = nodes.Filter(found[0], LISTED, [], [], None, None, lineno=1)
    full_template = nodes.Template([nodes.Output([written], lineno=1)], lineno=1).set_environment(SANDBOX)
    return SANDBOX.from_string(Counting().visit(full_template).set_environment(SANDBOX))


def fill_list(template: str, row: Mapping[str, Any]) -> list[Any]:
    """Return the list that a template's only expression gives for a row; Raises: as `fill`."""
    values: list[Any] = json.loads(_list_expression(template).render({**row, BUDGET: Budget()}))
    return values


def fill(template: str, row: Mapping[str, Any]) -> str:
    """Render the template with the columns of a row.

    Raises: BudgetExceeded, UnwritableValue, and the errors of Jinja and of the template's expressions.
    """
    text: str = _compiled(template).render({**row, BUDGET: Budget()})
    return text
