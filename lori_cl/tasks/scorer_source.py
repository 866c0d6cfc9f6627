"""Freeze the source of a scorer function when a task is added. The source is parsed, but not executed."""

from __future__ import annotations

import ast
from pathlib import Path

from lori_cl.errors import DataError, first_line
from lori_cl.spec import TaskSpec
from lori_cl.spec.scorer_files import scorer_function
from lori_cl.tasks.sources import inside

LARGEST_SOURCE = 64 * 1024
"""Maximum bytes of a scorer file."""


def freeze_scorer(task: TaskSpec, task_folder: Path) -> TaskSpec:
    """Return the task with the source of its scorer file; the same task if its metric is no function.

    Raises: DataError: the file is missing, not in the folder of the task file, too large, not valid Python,
        has no such function, or imports a file next to it.
    """
    named = scorer_function(getattr(task, "metric", None))
    if named is None or task.scorer_source is not None:
        return task
    path = inside(task_folder, task_folder / named.file, "put the scorer file next to the task file")
    source = _read(path)
    _check(source, path, named.function)
    return task.model_copy(update={"scorer_source": source})


def _read(path: Path) -> str:
    try:
        if not path.is_file():
            raise DataError(f"{path}: no scorer file; metric: FILE.py:FUNCTION is relative to the task file")
        with path.open("rb") as file:
            content = file.read(LARGEST_SOURCE + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > LARGEST_SOURCE:
        raise DataError(f"{path}: a scorer file has at most {LARGEST_SOURCE:,} bytes; shorten it")
    try:
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8") from None


def _check(source: str, path: Path, function: str) -> None:
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        problem = error.msg if isinstance(error, SyntaxError) else first_line(error)
        raise DataError(f"{path}{line}: not valid Python: {problem}") from None
    functions = [each.name for each in module.body if isinstance(each, ast.FunctionDef)]
    if function not in functions:
        raise DataError(f"{path}: no function '{function}'. Available: {', '.join(functions) or 'none'}.")
    for name in _imported(module):
        if _is_next_to(path, name):
            raise DataError(
                f"{path}: imports '{name}', which is next to it and would not be recorded with the task; "
                "put everything in one file, or write a plugin"
            )


def _imported(module: ast.Module) -> list[str]:
    """Return the top-level names of every imported module; '.' for a relative import."""
    found: list[str] = []
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found += [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append("." if node.level else str(node.module).partition(".")[0])
    return found


def _is_next_to(path: Path, name: str) -> bool:
    if name == ".":
        return True
    return (path.parent / f"{name}.py").exists() or (path.parent / name / "__init__.py").exists()
