"""A scorer function: `metric: FILE.py:FUNCTION` names a Python function that grades each answer.

The function gets the answer, the list of reference answers and the columns of the row. It returns a bool or a
number from 0 to 1. The registered task contains the source of the file, so a score does not depend on later
changes of the file.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

import numpy as np

from lori_cl import digest
from lori_cl.errors import ScoringFailed, first_line
from lori_cl.spec.error_messages import shown
from lori_cl.spec.scorer_files import scorer_function
from lori_cl.tasks.examples import Example
from lori_cl.tasks.scorers.base import Grade, Outcomes, Samples, Scorer, mean_grade, mean_outcomes

Function = Callable[[str, list[str], dict[str, Any]], Any]

LEAST_ATTAINABLE = 0.5
"""A function that grades the reference answers below this value on average causes a warning."""


class FunctionScorer(Scorer):
    """The mean over examples of what the function of the task returns. The function is not contained."""

    def trust_reason(self, task: Any) -> str:
        """Return that the function is not contained."""
        return f"scored by the Python function {task.metric}, which runs without containment"

    def row_columns(self, task: Any) -> None:
        """Return None: the function may read every column."""

    def grade(self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]) -> Grade:
        """Grade each example by the mean over its samples.

        Raises: ScoringFailed: the function raises an exception, or returns no number from 0 to 1.
        """
        outcome = partial(_outcome, task, _load(task.name, task.metric, task.scorer_source))
        return mean_grade(mean_outcomes(answers, examples, outcome), examples)

    def attainable(
        self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]
    ) -> tuple[Outcomes, float]:
        """Assume full marks: this is called before the user allows the function to run."""
        return np.ones(len(examples)), 1.0

    def check_before_run(self, task: Any, examples: Sequence[Example]) -> list[str]:
        """Grade the reference answers, so that an error of the function is found before training."""
        score = self.grade(task, [[example.target] for example in examples], examples).score
        if score >= LEAST_ATTAINABLE:
            return []
        return [
            f"task '{task.name}': {task.metric} grades the reference answers {100 * score:.1f} % on average"
        ]


@lru_cache(maxsize=32)
def _load(task: str, metric: str, source: str | None) -> Function:
    """Run the frozen source as a module of its own, and return the function."""
    named = scorer_function(metric)
    if named is None or source is None:
        raise ScoringFailed(f"task '{task}': the source of {metric} is not recorded; add the task again")
    module = ModuleType(f"lori_cl_scorer_{digest.of_bytes(source.encode())[:16]}")
    sys.modules[module.__name__] = module  # dataclasses look up their module
    try:
        exec(compile(source, named.file, "exec"), vars(module))  # noqa: S102 (only with --trust-tasks)
    except (Exception, SystemExit) as error:
        raise ScoringFailed(
            f"task '{task}': {metric} cannot be loaded: {_problem(error, named.file)}"
        ) from error
    function = getattr(module, named.function, None)
    if not callable(function):
        raise ScoringFailed(f"task '{task}': {named.file} has no function '{named.function}'")
    found: Function = function
    return found


def _outcome(task: Any, function: Function, answer: str, example: Example) -> float:
    where = f"task '{task.name}', row {example.id + 1}: {task.metric}"
    try:
        found = function(answer, list(example.golds), dict(example.row_values()))
    except (Exception, SystemExit) as error:
        file = task.metric.rpartition(":")[0]
        raise ScoringFailed(
            f"{where} fails on the answer {shown(answer)}: {_problem(error, file)}"
        ) from error
    value = found.item() if isinstance(found, np.generic) else found
    if not isinstance(value, bool | int | float) or not 0 <= value <= 1:
        raise ScoringFailed(
            f"{where} returned {shown(value)} for the answer {shown(answer)}; "
            "it must return a bool or a number from 0 to 1"
        )
    return float(value)


def _problem(error: BaseException, file: str) -> str:
    """Return 'KeyError: 'x' (line 7)', with the line of the scorer file."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    line = f" (line {lines[-1]})" if lines else ""
    name = type(error).__name__
    return name + (f": {first_line(error)}" if str(error) else "") + line


FUNCTION_SCORER = FunctionScorer()
