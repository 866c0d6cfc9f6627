"""The Python blocks of README and docs run, and print what the page shows."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import re
from pathlib import Path
from typing import Any

import pytest

import lori_cl as cl
from tests.docs.pages import DOCS, ROOT, Block, blocks
from tests.nightly import only_in_ci

ALL = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
PAGES = [page for page in ALL if "```python" in page.read_text(encoding="utf-8")]
NOT_RUN = "not run: "
"""A comment above a block that needs a big model or data; then only its names are checked."""

DECIMAL = re.compile(r"-?\d+\.\d+")
TOLERANCE = 0.1
"""Scores differ a little between machines; all else is compared exactly."""


def run_blocks(found: list[Block]) -> None:
    """Run the Python blocks in order in one namespace, and compare what they print."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in found:
        if block.language != "python":
            continue
        printed = io.StringIO()
        tree = compile(block.code, f"line {block.line}", "exec")
        with contextlib.redirect_stdout(printed):
            exec(tree, namespace)
        if block.output is not None:
            compare(printed.getvalue(), block.output, block.line)


def compare(printed: str, documented: str, line: int) -> None:
    """Compare lines word by word; numbers with a decimal point may differ by the tolerance.

    Raises: AssertionError: the page shows another output.
    """
    printed, documented = (
        "\n".join(" ".join(line.split()) for line in text.splitlines()) for text in (printed, documented)
    )
    problem = f"line {line}: the block prints\n{printed}\nand the page shows\n{documented}"
    assert DECIMAL.sub("#", printed) == DECIMAL.sub("#", documented), problem
    pairs = zip(DECIMAL.findall(printed), DECIMAL.findall(documented), strict=True)
    assert all(abs(float(one) - float(other)) <= TOLERANCE for one, other in pairs), problem


def check_names(code: str) -> None:
    """Parse a block, and check the public names it calls and the keywords it passes to them.

    Raises: AssertionError, SyntaxError: the block cannot run.
    """
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            given = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
            assert given <= keywords_of(node.func), f"{ast.unparse(node)}: unknown keyword"


def keywords_of(function: ast.Attribute) -> set[str]:
    """Return the keywords that `cl.NAME` takes, or that `ws.METHOD` and `run.METHOD` take."""
    owner = function.value.id if isinstance(function.value, ast.Name) else ""
    named = {"cl": cl, "ws": cl.Workspace, "run": cl.Run, "model": cl.LoRIModel}.get(owner)
    assert named is not None, f"{ast.unparse(function)}: of an object that this check does not know"
    called = getattr(named, function.attr, None)
    assert called is not None, f"{ast.unparse(function)} does not exist"
    if fields := getattr(called, "model_fields", None):
        return set(fields)
    return set(inspect.signature(called).parameters)


@pytest.mark.parametrize("page", only_in_ci([PAGES[0]], PAGES), ids=lambda page: page.name)
def test_python_blocks_run_and_print_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = blocks(page.read_text(encoding="utf-8"))
    for block in found:
        if block.comment.startswith(NOT_RUN):
            check_names(block.code)
    run_blocks([block for block in found if not block.comment.startswith(NOT_RUN)])


def test_pages_with_python_are_the_readme_and_the_python_page() -> None:
    assert {page.name for page in PAGES} >= {"README.md", "python-api.md"}


def test_block_that_prints_something_else_is_reported() -> None:
    page = "```python\nx = 0.97\nprint('a', x)\n```\n\n```text\na {}\n```\n"
    run_blocks(blocks(page.replace("{}", "0.95")))
    for other in ("0.5", "1", "0.97 b"):
        with pytest.raises(AssertionError, match="line 2: the block prints"):
            run_blocks(blocks(page.replace("{}", other)))


@pytest.mark.parametrize("code", ["cl.LORI()", "cl.LoRI(rnk=8)", "ws.run(plan, nme='a')", "ws.add_task('a"])
def test_block_that_is_not_run_must_name_what_exists(code: str) -> None:
    check_names("cl.LoRI(rank=8); ws.run(plan, name='a')")
    with pytest.raises((AssertionError, SyntaxError)):
        check_names(code)
