"""Rewrites a parsed template so that every value is counted, and every written value is checked.

Every expression whose value is not a constant goes through a filter that counts it; so does every loop, once
a step, and every piece of text that is written, constant text included. Nothing is computed while a template
is compiled. No template can name these filters: their names begin with a space.
"""

from __future__ import annotations

from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from lori_cl.tasks.templates.budget import MAX_EXPRESSIONS, TooMuch
from lori_cl.tasks.templates.expressions import expression_text

BUDGET = " budget"
"""The variable that holds the budget of a rendering."""
COUNTED = " counted"
"""The filter that counts a value."""
VALUE = " value"
"""The filter that counts a value, and refuses a method or a function that is not called."""
WRITTEN = " written"
"""The filter that counts what is written, and refuses what is no text."""
STEPS = " steps"
"""The filter that counts the steps of a loop."""
METHOD = " method"
"""The filter that finds a method that is called."""

MADE = (nodes.BinExpr, nodes.Concat, nodes.List, nodes.Tuple, nodes.Dict, nodes.Call)
"""Expressions that make a value, which is not a method."""
READ = (nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Filter)
"""Expressions that may give a method or a function."""


class Counting(NodeTransformer):
    """The rewriting of one template."""

    def __init__(self) -> None:
        self._left = MAX_EXPRESSIONS

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        """One node, after the nodes inside it; Raises: TooMuch."""
        self._left -= isinstance(node, nodes.Expr)
        if self._left < 0:
            raise TooMuch(f"it has more than {MAX_EXPRESSIONS:,} expressions")
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
        return _watched(node, texts)


def _texts(node: nodes.Node) -> list[str]:
    """What stands in the template for the parts that are written, or for the node itself."""
    match node:
        case nodes.Output() | nodes.Concat():
            return [expression_text(part) for part in node.nodes]
        case nodes.FilterBlock():
            return [expression_text(node.filter)]
        case _:
            return [expression_text(node)] if isinstance(node, READ) else []


def _watched(node: nodes.Node, texts: list[str]) -> nodes.Node:
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
    """The node without the filter that was laid around it last."""
    return node.node if isinstance(node, nodes.Filter) and node.name in {VALUE, COUNTED} else node


def _counted(node: Any) -> Any:
    """The node with its value counted and not refused: it is looked into, or tested."""
    bare = _bare(node)
    return node if bare is node else _filtered(bare, COUNTED)


def _called(node: Any) -> Any:
    """The node as something that is called, for which a method is meant."""
    bare = _bare(node)
    if isinstance(bare, nodes.Getattr):
        return _filtered(bare.node, METHOD, bare.attr)
    return bare
