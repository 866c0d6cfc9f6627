"""A model's own chat template, rendered with the same limits as a task's templates.

The environment has what the one of transformers has (`transformers.utils.chat_template_utils`), so a template
writes the same text, without filters that multiply without a bound or that draw at random. A chat template
may write nulls and lists, as it may there, but no Python object whose text holds a memory address.
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
from lori_cl.tasks.templates.environment import BoundedEnvironment, NoText, kind_of_value

MAX_CHAT_TEMPLATE = 2**18
"""Characters of a chat template; the longest of known models have some 30,000."""
UNBOUNDED = ("batch", "pprint", "random", "slice", "sum", "urlize", "wordwrap", "xmlattr")
"""Jinja's own filters that multiply, draw at random, or write Python objects."""
WRITABLE = (str, int, float, Decimal, date, time, timedelta, type(None), Undefined, range)


class _Generation(Extension):
    """`{% generation %}` marks what the assistant says; here it only writes it."""

    tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """The block's content."""
        next(parser.stream)
        body: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body)


class ChatEnvironment(BoundedEnvironment):
    """The sandbox of chat templates."""

    max_template = MAX_CHAT_TEMPLATE

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        for name in UNBOUNDED:
            del self.filters[name]
        self.filters |= {"tojson": _to_json, "center": _center, "indent": _indent}
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}

    def check_written(self, value: Any, text: str) -> None:
        """Everything that JSON can hold is written; objects of Python and of Jinja are refused."""
        if not all(isinstance(part, WRITABLE) for part in _leaves(value)):
            raise NoText(f"{{{{ {text} }}}} writes a {kind_of_value(value)}, not a text")


def _leaves(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple):
            waiting += part
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
    text = f"{text}\n"  # as Jinja does, so that a last line break counts as a line
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
    """What the template makes of the messages, with a header for the answer.

    `variables` are what transformers gives a template besides: special tokens, and a `strftime_now`.
    Raises: TooMuch, NoText, what Jinja raises, and what the template's own computation raises.
    """
    known = {"messages": list(messages), "tools": None, "documents": None, "add_generation_prompt": True}
    text: str = _compiled(template).render({**known, **variables, BUDGET: Budget()})
    return text


def chat_text(tokenizer: Any, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """What the tokenizer's own chat template makes of the messages; Raises: as `render_chat_template`."""
    template: str = tokenizer.get_chat_template()
    return render_chat_template(template, messages, **{**tokenizer.special_tokens_map, **variables})
