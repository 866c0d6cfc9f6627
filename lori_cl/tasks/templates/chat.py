"""Render a model's own chat template with the same limits as a task's templates.

The environment provides the same features as transformers (`transformers.utils.chat_template_utils`), so a
template gives the same text. Filters with unbounded output and random filters are removed. As in
transformers, a chat template may write nulls and lists, but no Python object whose text contains a memory
address.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError, Undefined, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from lori_cl.tasks.templates.budget import Budget, require_size, require_width
from lori_cl.tasks.templates.counting import BUDGET
from lori_cl.tasks.templates.environment import BoundedEnvironment, UnwritableValue, kind_of_value

MAX_CHAT_TEMPLATE = 2**18
"""Maximum number of characters of a chat template; the longest known ones have about 30,000."""
UNBOUNDED = ("batch", "pprint", "random", "slice", "sum", "urlize", "wordwrap", "xmlattr")
"""Jinja's built-in filters with unbounded output, random output, or output of Python objects."""
WRITABLE = (str, int, float, Decimal, date, time, timedelta, type(None), Undefined, range)


class _Generation(Extension):
    """`{% generation %}` marks the assistant's text; here it only writes the text."""

    tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """Parse the content of the block."""
        next(parser.stream)
        body: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body)


class ChatEnvironment(BoundedEnvironment):
    """The sandbox for chat templates."""

    max_template = MAX_CHAT_TEMPLATE

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        for name in UNBOUNDED:
            del self.filters[name]
        self.filters |= {"tojson": _to_json, "center": _center, "indent": _indent}
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}

    def check_written(self, value: Any, text: str) -> None:
        """Allow everything that JSON can represent; reject other Python and Jinja objects."""
        if not all(isinstance(part, WRITABLE) for part in _leaves(value)):
            raise UnwritableValue(f"{{{{ {text} }}}} writes a {kind_of_value(value)}, not text")


def _leaves(value: Any) -> Iterator[Any]:
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            pending += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple):
            pending += part
        else:
            yield part


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    _require_indent(indent)
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _require_indent(indent: Any) -> None:
    if isinstance(indent, int):
        require_width(indent)
    elif indent is not None:
        require_width(len(indent))


def _center(value: Any, width: int = 80) -> str:
    require_width(width)
    return str(value).center(width)


def _indent(text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    _require_indent(width)
    indention = " " * width if isinstance(width, int) else width
    text = f"{text}\n"  # as Jinja does, so that a final line break counts as a line
    require_size(text.count("\n") * len(indention))
    lines = text.splitlines()
    if not blank:
        joined = "\n".join([lines[0], *(f"{indention}{line}" if line else line for line in lines[1:])])
    else:
        joined = f"\n{indention}".join(lines)
    return f"{indention}{joined}" if first else joined


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


ENVIRONMENT = ChatEnvironment()
_compiled = lru_cache(maxsize=16)(ENVIRONMENT.compiled)


def render_chat_template(template: str, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """Render the template with the messages and a header for the answer.

    `variables` are the other variables that transformers provides: special tokens and `strftime_now`.
    Raises: BudgetExceeded, UnwritableValue, and the errors of Jinja and of the template's expressions.
    """
    standard = {"messages": list(messages), "tools": None, "documents": None, "add_generation_prompt": True}
    text: str = _compiled(template).render({**standard, **variables, BUDGET: Budget()})
    return text


def chat_text(tokenizer: Any, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """Render the tokenizer's own chat template; Raises: as `render_chat_template`."""
    template: str = tokenizer.get_chat_template()
    return render_chat_template(template, messages, **{**tokenizer.special_tokens_map, **variables})
