"""The source text of a parsed Jinja expression, for error messages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from jinja2 import nodes

LONGEST = 80
"""Maximum number of characters of an expression in a message."""

OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%", "pow": "**"}


def expression_text(node: nodes.Node) -> str:
    """Return the source text of an expression; unsupported parts are `…`."""
    text = _text(node)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


@singledispatch
def _text(node: nodes.Node) -> str:
    operator = OPERATORS.get(type(node).__name__.lower())
    return f"{_text(node.left)} {operator} {_text(node.right)}" if operator else "…"  # type: ignore[attr-defined]


@_text.register
def _(node: nodes.Name) -> str:
    return node.name


@_text.register
def _(node: nodes.Const) -> str:
    return repr(node.value)


@_text.register
def _(node: nodes.Getattr) -> str:
    return f"{_text(node.node)}.{node.attr}"


@_text.register
def _(node: nodes.Getitem) -> str:
    return f"{_text(node.node)}[{_text(node.arg)}]"


@_text.register
def _(node: nodes.Call) -> str:
    return f"{_text(node.node)}({_arguments(node)})"


@_text.register
def _(node: nodes.Filter) -> str:
    arguments = _arguments(node)
    before = "" if node.node is None else f"{_text(node.node)} | "
    return f"{before}{node.name}({arguments})" if arguments else f"{before}{node.name}"


@_text.register
def _(node: nodes.Concat) -> str:
    return " ~ ".join(map(_text, node.nodes))


@_text.register
def _(node: nodes.List) -> str:
    return f"[{_listed(node.items)}]"


@_text.register
def _(node: nodes.Tuple) -> str:
    return f"({_listed(node.items)})"


@_text.register
def _(node: nodes.CondExpr) -> str:
    otherwise = "" if node.expr2 is None else f" else {_text(node.expr2)}"
    return f"{_text(node.expr1)} if {_text(node.test)}{otherwise}"


def _arguments(node: nodes.Call | nodes.Filter) -> str:
    named = [f"{pair.key}={_text(pair.value)}" for pair in node.kwargs if isinstance(pair, nodes.Keyword)]
    return ", ".join([*map(_text, node.args), *named])


def _listed(items: Sequence[nodes.Node]) -> str:
    return ", ".join(map(_text, items))
