"""Rewrite a parsed template so that every value is counted and every written value is checked.

A filter counts the value of every expression that is not constant, every step of a loop, and every text that
is written, including constant text. Nothing is computed while a template is compiled. A template cannot use
these filters itself, because their names begin with a space.
"""

from __future__ import annotations

from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from lori_cl.tasks.templates.budget import MAX_EXPRESSIONS, BudgetExceeded
from lori_cl.tasks.templates.expressions import expression_text

BUDGET = " budget"
"""The variable with the budget of a rendering."""
COUNTED = " counted"
"""The filter that counts a value."""
VALUE = " value"
"""The filter that counts a value and rejects a method or function that is not called."""
WRITTEN = " written"
"""The filter that counts what is written and rejects what is not text."""
STEPS = " steps"
"""The filter that counts the steps of a loop."""
METHOD = " method"
"""The filter that looks up a method that is called."""

MADE = (nodes.BinExpr, nodes.Concat, nodes.List, nodes.Tuple, nodes.Dict, nodes.Call)
"""Expressions that create a value; it cannot be a method."""
READ = (nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Filter)
"""Expressions whose value may be a method or a function."""


class Counting(NodeTransformer):
    """Rewrites one template."""

    def __init__(self) -> None:
        self._left = MAX_EXPRESSIONS

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        """Rewrite one node after its child nodes; Raises: BudgetExceeded."""
        self._left -= isinstance(node, nodes.Expr)
        if self._left < 0:
            raise BudgetExceeded(f"it has more than {MAX_EXPRESSIONS:,} expressions")
        texts = _texts(node)
        super().generic_visit(node, *args, **kwargs)
        match node:
            case nodes.Output():
                node.nodes = [_filtered(_bare(n), WRITTEN, t) for n, t in zip(node.nodes, texts, strict=True)]
            case nodes.Concat():
                node.nodes = [_filtered(_bare(n), WRITTEN, t) for n, t in zip(node.nodes, texts, strict=True)]
            case nodes.FilterBlock():
                node.filter = _filtered(_bare(node.filter), WRITTEN, texts[0])
            case nodes.For():
                node.iter = _filtered(node.iter, STEPS)
            case nodes.CallBlock():
                node.call = _bare(node.call)
            case nodes.Test() | nodes.Getattr() | nodes.Getitem():
                node.node = _counted(node.node)
            case nodes.Call():
                node.node = _called(node.node)
        return _wrapped(node, texts)


def _texts(node: nodes.Node) -> list[str]:
    """Return the source text of the parts that are written, or of the node itself."""
    match node:
        case nodes.Output() | nodes.Concat():
            return [expression_text(part) for part in node.nodes]
        case nodes.FilterBlock():
            return [expression_text(node.filter)]
        case _:
            return [expression_text(node)] if isinstance(node, READ) else []


def _wrapped(node: nodes.Node, texts: list[str]) -> nodes.Node:
    if getattr(node, "ctx", "load") != "load":
        return node
    if isinstance(node, READ):
        return _filtered(node, VALUE, texts[0])
    return _filtered(node, COUNTED) if isinstance(node, MADE) else node


def _filtered(node: Any, name: str, *arguments: str) -> nodes.Filter:
    if isinstance(node, nodes.TemplateData):
        node = nodes.Const(node.data, lineno=node.lineno)
    constants = [nodes.Const(argument) for argument in arguments]
    return nodes.Filter(node, name, constants, [], None, None, lineno=node.lineno)


def _bare(node: Any) -> Any:
    """Return the node without its outermost counting filter."""
    return node.node if isinstance(node, nodes.Filter) and node.name in {VALUE, COUNTED} else node


def _counted(node: Any) -> Any:
    """Return the node with its value counted but not rejected, for attribute access and tests."""
    bare = _bare(node)
    return node if bare is node else _filtered(bare, COUNTED)


def _called(node: Any) -> Any:
    """Return the node as the callee of a call, where a method is allowed."""
    bare = _bare(node)
    if isinstance(bare, nodes.Getattr):
        return _filtered(bare.node, METHOD, bare.attr)
    return bare
