"""No file that is read can execute code: no pickle, no unsafe YAML, no code from a file.

The only exception is a scorer function that a task names, with --trust-tasks.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lori_cl
from lori_cl.evaluation import load_run
from lori_cl.registry import Run, Workspace
from lori_cl.reports import FORMATS, gather
from lori_cl.serving.export import export

CONTAINED = "containment"
"""The package that runs generated programs in isolation; it passes them with marshal."""
SOURCES = [file for file in Path(lori_cl.__file__).parent.rglob("*.py") if file.parent.name != CONTAINED]
LIBRARIES = {
    "pickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
    "copyreg",
}
CALLS = {"eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "numpy.load", "np.load"}


def nodes(file: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(file.read_text(encoding="utf-8")))


def test_no_module_imports_a_pickle_library() -> None:
    imported = {
        (file.name, name.partition(".")[0])
        for file in SOURCES
        for node in nodes(file)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not {entry for entry in imported if entry[1] in LIBRARIES}


def test_no_module_calls_a_function_that_executes_code_from_a_file() -> None:
    calls = [
        (file.name, ast.unparse(node.func), {keyword.arg: keyword.value for keyword in node.keywords})
        for file in SOURCES
        for node in nodes(file)
        if isinstance(node, ast.Call)
    ]
    assert [(file, name) for file, name, _ in calls if name in CALLS] == [("function_scorer.py", "exec")]
    loads = [keywords for _, name, keywords in calls if name == "torch.load"]
    assert [ast.unparse(keywords["weights_only"]) for keywords in loads] == ["True"]


@pytest.fixture
def unpickled() -> Iterator[list[str]]:
    """Record the names that Python unpickles in this process during the test."""
    found: list[str] = []
    watching = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "pickle.find_class":
            found.append(".".join(map(str, arguments)))

    sys.addaudithook(watch)  # an audit hook cannot be removed
    yield found
    watching = False


def test_run_report_and_export_unpickle_nothing(
    train_run: Callable[..., Run], workspace: Workspace, tmp_path: Path, unpickled: list[str]
) -> None:
    train_run("a", "b", masks={"strategy": "magnitude", "density": 0.1})
    train_run("a", "b", "c", masks={"strategy": "magnitude", "density": 0.1})
    with workspace.read() as registry:
        report = gather(registry, "run")
        export(load_run(workspace, registry, "run"), "a", tmp_path / "out")
    assert all(render([report]) for render in FORMATS.values())
    assert unpickled == []
