"""Split a task's program into the part that the model completes and the tests that judge it.

The split is computed from the program with the task's reference solution, never from model-written code.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

PURE_MODULES = frozenset(
    [
        *(
            "bisect",
            "collections",
            "copy",
            "datetime",
            "fractions",
            "functools",
            "hashlib",
            "heapq",
            "itertools",
        ),
        *("math", "operator", "re", "statistics", "string", "typing"),
    ]
)
"""Modules without state that a test could set for the candidate."""
PURE_BUILTINS = frozenset(dir(builtins)) - {
    *("__import__", "breakpoint", "compile", "delattr", "dir", "eval", "exec", "exit", "getattr", "globals"),
    *("hasattr", "help", "id", "input", "locals", "memoryview", "object", "open", "quit", "setattr", "vars"),
}
DATA_ATTRIBUTES = {
    name
    for kind in (bool, bytes, complex, dict, float, int, list, set, str, tuple, BaseException)
    for name in dir(kind)
    if not name.startswith("__")
}
IMPORTS = (ast.Import, ast.ImportFrom)
UNUSUAL = (
    *(ast.ClassDef, ast.Lambda, ast.With, ast.Global, ast.Nonlocal, ast.Yield, ast.YieldFrom, ast.Await),
    *(ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith),
)


@dataclass(frozen=True)
class Program:
    """A program to contain: Python source, and the tests that judge it from a separate process."""

    candidate: str
    judge: Mapping[str, Any] | None = None
    """Arguments of `judge.judge`; None if the source contains its own tests."""


@dataclass(frozen=True)
class Split:
    """The parts of a program around the completion."""

    before: str
    after: str
    """Between the completion and the tests."""
    tests: str
    setup: str
    """The task's statements before the completion that the tests may need: imports and functions."""
    candidate_names: tuple[str, ...]
    """Names that the candidate defines."""
    is_plain: bool
    """Whether the tests only call functions of the candidate and inspect the results."""

    def program(self, completion: str, open_operators: bool) -> Program:
        """Return the program with a completion inserted."""
        return Program(
            self.before + _lines(completion) + self.after,
            {
                "setup": self.setup,
                "tests": self.tests,
                "candidates": self.candidate_names,
                "open_operators": open_operators,
            },
        )


def split(before: str, reference: str, after: str) -> Split | None:
    """Split a program; return None if no statement follows the completion, or it is not valid Python."""
    before, reference, after = map(_lines, (before, reference, after))
    try:
        statements = _statements(before + reference + after)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    begin, end = len(before), len(before) + len(reference)
    setup = [s for s in statements if s.end <= begin]
    candidate = [s for s in statements if s.end > begin and s.start < end]
    tests = [s for s in statements if s.start >= end and s.end > begin]
    if not tests:
        return None
    cut = tests[0].start - end
    names = _bound(s.node for s in candidate)
    helpers = [s for s in setup if isinstance(s.node, IMPORTS)]
    if not any(isinstance(s.node, ast.ClassDef) for s in setup):  # an object exists in one process
        helpers = [s for s in setup if isinstance(s.node, (*IMPORTS, ast.FunctionDef))]
    return Split(
        before=before,
        after=after[:cut],
        tests=after[cut:],
        setup="\n".join(s.text for s in helpers if not _bound([s.node]) & names),
        candidate_names=tuple(sorted(names)),
        is_plain=_is_plain(*([s.node for s in part] for part in (setup, candidate, tests))),
    )


@dataclass(frozen=True)
class _Statement:
    node: ast.stmt
    start: int
    end: int
    text: str


def _lines(text: str) -> str:
    """Normalise line endings as Python's parser does."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _statements(source: str) -> list[_Statement]:
    lines = source.split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in lines)]

    def offset(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    found = []
    for node in ast.parse(source).body:
        first = min([node, *getattr(node, "decorator_list", [])], key=lambda part: part.lineno)
        start = offset(first.lineno, first.col_offset) - (first is not node)  # include the decorator's @
        end = offset(node.end_lineno or node.lineno, node.end_col_offset or 0)
        found.append(_Statement(node, start, end, source[start:end]))
    return found


def _bound(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that these statements bind at the top level."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, IMPORTS):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        names |= _bound(ast.iter_child_nodes(node))
    return names


def _loaded(nodes: Iterable[ast.AST]) -> set[str]:
    return {name.id for node in nodes for name in ast.walk(node) if isinstance(name, ast.Name)}


def _is_plain(setup: Sequence[ast.stmt], candidate: Sequence[ast.stmt], tests: Sequence[ast.stmt]) -> bool:
    nodes = [node for statement in tests for node in ast.walk(statement)]
    bound = {name.id for name in nodes if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    bound |= {argument.arg for argument in nodes if isinstance(argument, ast.arg)} | _bound(tests)
    bound |= {handler.name for handler in nodes if isinstance(handler, ast.ExceptHandler) and handler.name}
    functions = {node.name for node in candidate if isinstance(node, ast.FunctionDef)}
    pure = _bound(node for node in [*setup, *nodes] if _imports_pure(node))
    return (
        all(isinstance(node, (ast.FunctionDef, *IMPORTS)) or _is_constant(node) for node in candidate)
        and not any(isinstance(node, UNUSUAL) for node in nodes)
        and all(_imports_pure(node) for node in nodes if isinstance(node, IMPORTS))
        and all(_is_data_attribute(node, pure) for node in nodes if isinstance(node, ast.Attribute))
        and _loaded(tests) <= bound | functions | pure | PURE_BUILTINS
        and not _bound(tests) & _loaded([*setup, *candidate])
    )


def _is_data_attribute(node: ast.Attribute, modules: set[str]) -> bool:
    """Return whether an attribute belongs to builtin data or to a module."""
    return node.attr in DATA_ATTRIBUTES or (isinstance(node.value, ast.Name) and node.value.id in modules)


def _is_constant(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _imports_pure(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.level == 0 and node.module in PURE_MODULES
    return isinstance(node, ast.Import) and all(alias.name in PURE_MODULES for alias in node.names)
