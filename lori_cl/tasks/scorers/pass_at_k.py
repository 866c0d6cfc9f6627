"""Whether programs pass their tests; they run contained, and only where the user allows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

import numpy as np

from lori_cl.errors import DataError
from lori_cl.spec import CodeSpec
from lori_cl.spec.kinds import LARGEST_MEMORY_MB, LONGEST_TIMEOUT_S
from lori_cl.tasks.containment import Exercise, Limits, Verdict, Way, judge_completions
from lori_cl.tasks.examples import COMPLETION, Example
from lori_cl.tasks.scorers.base import Grade, Outcomes, Samples, Scorer, mean_grade

TIMED_OUT = "timed_out"
"""The part that says which fraction of the programs was ended by a time limit."""
TESTS_NOT_ISOLATED = "tests_not_isolated"
"""The part that says for which fraction of the examples the tests share a process with the program."""


def repeatable_parts(parts: Mapping[str, float]) -> dict[str, float]:
    """Without the parts that say how a score was taken: earlier versions recorded none, and whether a wrong
    program reaches a time limit depends on the machine."""
    return {name: value for name, value in parts.items() if name not in (TIMED_OUT, TESTS_NOT_ISOLATED)}


class PassAtK(Scorer):
    """The chance that one of k samples passes, without bias, from n ≥ k samples."""

    runs_code = True

    def attainable(
        self, task: CodeSpec, answers: Sequence[Samples], examples: Sequence[Example]
    ) -> tuple[Outcomes, float]:
        """A solution passes here where it is written as wanted, but for spaces."""
        whole = [answer.split() == e.target.split() for (answer,), e in zip(answers, examples, strict=True)]
        outcomes = np.array(whole, dtype=np.float64)
        return outcomes, float(outcomes.mean())

    def grade(self, task: CodeSpec, answers: Sequence[Samples], examples: Sequence[Example]) -> Grade:
        """Run every program once, contained.

        A program that reached a time limit has failed; where there are any, a part of the grade says how
        many.
        """
        exercises = [_exercise(example) for example in examples]
        ways, verdicts = judge_completions(exercises, answers, limits(task))
        shape = (len(examples), task.samples)
        ended = np.array([[verdict.name for verdict in of] for of in verdicts]).reshape(
            shape
        )  # (examples, n)
        right = (ended == Verdict.PASSED.name).sum(axis=1).tolist()
        of = {k: np.array([pass_at_k(task.samples, c, k) for c in right]) for k in task.pass_at}
        parts = {f"pass@{k}": float(outcomes.mean()) for k, outcomes in of.items()}
        parts |= _where_any(TIMED_OUT, ended == Verdict.TIMED_OUT.name)
        parts |= _where_any(TESTS_NOT_ISOLATED, np.array([way is Way.TOGETHER for way in ways]))
        return mean_grade(of[task.pass_at[0]], examples, parts)


def passing(task: CodeSpec, answers: Sequence[Samples], examples: Sequence[Example]) -> list[bool]:
    """Whether each program passes with each of its completions; they run contained."""
    _, verdicts = judge_completions([_exercise(example) for example in examples], answers, limits(task))
    return [verdict is Verdict.PASSED for of in verdicts for verdict in of]


def limits(task: Any) -> Limits:
    """What the programs of a task may use.

    Raises: DataError: an older version registered the task with higher limits than are allowed now.
    """
    asked = (
        ("timeout_s", task.timeout_s, LONGEST_TIMEOUT_S),
        ("memory_mb", task.memory_mb, LARGEST_MEMORY_MB),
    )
    for field, value, most in asked:
        if value > most:
            raise DataError(
                f"task '{task.name}': {field} is {value:g}, and {most:,} is the maximum; lower it in the "
                "task's file and add the task again"
            )
    return Limits(seconds=task.timeout_s, memory_bytes=task.memory_mb * 2**20)


def _exercise(example: Example) -> Exercise:
    before, _, after = example.check.partition(COMPLETION)
    return Exercise(before, after, example.target)


def _where_any(name: str, which: np.ndarray) -> dict[str, float]:
    return {name: float(which.mean())} if which.any() else {}


def pass_at_k(n: int, c: int, k: int) -> float:
    """1 − C(n − c, k) / C(n, k): the chance that k of n samples, c of them right, hold a right one.

    Source: Chen et al. 2021 (arXiv 2107.03374), equation 1.
    """
    return 1 - comb(n - c, k) / comb(n, k)
