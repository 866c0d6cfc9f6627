"""The command line adds nothing to the Python API but parsing and printing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lori_cl.cli

FOLDER = Path(lori_cl.cli.__file__).parent
ALLOWED = {
    "lori_cl",
    "lori_cl.errors",
    "lori_cl.paths",
    "lori_cl.plugins",
    "lori_cl.strict_json",
    "lori_cl.registry.workspace",  # the workspace of the global options
    "lori_cl.reports",  # tables for the terminal
    "lori_cl.serving.interference_table",
    "lori_cl.serving.merge_table",
    "lori_cl.spec",  # the names of views
    "lori_cl.training",  # Gate
    "lori_cl.runtime.distributed",  # which process prints
}
NAMES = {"lori_cl.spec": {"View"}, "lori_cl.training": {"Gate"}}
"""The only names that may be imported from a large package."""


def _imports(tree: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """Yield (module, imported names), without imports for type checking."""
    typing = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, {name.name for name in node.names}
        elif isinstance(node, ast.Import):
            yield from ((name.name, set()) for name in node.names)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_a_command_uses_only_the_python_api(file: Path) -> None:
    for module, names in _imports(ast.parse(file.read_text("utf-8"))):
        if not module.startswith("lori_cl") or module.startswith(("lori_cl.cli", "lori_cl.api")):
            continue
        assert module in ALLOWED
        assert names <= NAMES.get(module, names)
