"""Splits a task's program into the part that the model completes and the tests that judge it.

To which part a statement belongs is read from the program with the task's own reference solution in it, never
from what a model wrote.
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
"""Modules with no state that a test could set for the candidate."""
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
    """What is contained: Python source, and the tests that judge it from a process of their own."""

    candidate: str
    judge: Mapping[str, Any] | None = None
    """Arguments of `judge.judge`; None where the source holds its own tests."""


@dataclass(frozen=True)
class Split:
    """The parts of a program around the completion."""

    before: str
    after: str
    """Between the completion and the tests."""
    tests: str
    setup: str
    """What the tests may need of the task's own statements before the completion: imports and functions."""
    candidate_names: tuple[str, ...]
    """Names that the candidate binds."""
    is_plain: bool
    """Whether the tests do no more than call functions of the candidate and look at the results."""

    def program(self, completion: str, open_operators: bool) -> Program:
        """The program with a completion in it."""
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
    """Split a program; None where it has no statement behind the completion, or is no Python."""
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
    if not any(isinstance(s.node, ast.ClassDef) for s in setup):  # the objects of a class live in one process
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
    """With the line ends that Python's own parser makes of them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _statements(source: str) -> list[_Statement]:
    lines = source.split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in lines)]

    def offset(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    found = []
    for node in ast.parse(source).body:
        first = min([node, *getattr(node, "decorator_list", [])], key=lambda part: part.lineno)
        start = offset(first.lineno, first.col_offset) - (first is not node)  # with the decorator's @
        end = offset(node.end_lineno or node.lineno, node.end_col_offset or 0)
        found.append(_Statement(node, start, end, source[start:end]))
    return found


def _bound(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that these statements bind at the top level."""
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
    whole = [node for statement in tests for node in ast.walk(statement)]
    own = {name.id for name in whole if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    own |= {argument.arg for argument in whole if isinstance(argument, ast.arg)} | _bound(tests)
    own |= {handler.name for handler in whole if isinstance(handler, ast.ExceptHandler) and handler.name}
    functions = {node.name for node in candidate if isinstance(node, ast.FunctionDef)}
    pure = _bound(node for node in [*setup, *whole] if _imports_pure(node))
    return (
        all(isinstance(node, (ast.FunctionDef, *IMPORTS)) or _is_text(node) for node in candidate)
        and not any(isinstance(node, UNUSUAL) for node in whole)
        and all(_imports_pure(node) for node in whole if isinstance(node, IMPORTS))
        and all(_is_of_data(node, pure) for node in whole if isinstance(node, ast.Attribute))
        and _loaded(tests) <= own | functions | pure | PURE_BUILTINS
        and not _bound(tests) & _loaded([*setup, *candidate])
    )


def _is_of_data(node: ast.Attribute, modules: set[str]) -> bool:
    """Whether an attribute is one of builtin data, or of a module."""
    return node.attr in DATA_ATTRIBUTES or (isinstance(node.value, ast.Name) and node.value.id in modules)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _imports_pure(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.level == 0 and node.module in PURE_MODULES
    return isinstance(node, ast.Import) and all(alias.name in PURE_MODULES for alias in node.names)
