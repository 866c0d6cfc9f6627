"""pass@k: whether programs pass their tests. They run contained, and only if the user allows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

import numpy as np

from lori_cl.errors import DataError
from lori_cl.spec import CodeSpec
from lori_cl.spec.kinds import LARGEST_MEMORY_MB, LONGEST_TIMEOUT_S
from lori_cl.tasks.containment import CodeProblem, JudgingMode, Limits, Verdict, judge_completions
from lori_cl.tasks.examples import COMPLETION, Example
from lori_cl.tasks.scorers.base import Grade, Outcomes, Samples, Scorer, mean_grade

TIMED_OUT = "timed_out"
"""Name of the part with the fraction of programs that reached a time limit."""
TESTS_NOT_ISOLATED = "tests_not_isolated"
"""Name of the part with the fraction of examples whose tests share a process with the program."""


def repeatable_parts(parts: Mapping[str, float]) -> dict[str, float]:
    """Remove the parts that describe how a score was measured.

    Earlier versions did not record them, and whether a wrong program reaches a time limit depends on the
    machine.
    """
    return {name: value for name, value in parts.items() if name not in (TIMED_OUT, TESTS_NOT_ISOLATED)}


class PassAtK(Scorer):
    """Unbiased estimate, from n ≥ k samples, of the probability that at least one of k samples passes."""

    runs_code = True

    def attainable(
        self, task: CodeSpec, answers: Sequence[Samples], examples: Sequence[Example]
    ) -> tuple[Outcomes, float]:
        """Count a solution as passed if it equals the reference except for whitespace."""
        equal = [answer.split() == e.target.split() for (answer,), e in zip(answers, examples, strict=True)]
        outcomes = np.array(equal, dtype=np.float64)
        return outcomes, float(outcomes.mean())

    def grade(self, task: CodeSpec, answers: Sequence[Samples], examples: Sequence[Example]) -> Grade:
        """Run every program once, contained.

        A program that reaches a time limit fails. If there are any, a part of the grade gives their fraction.
        """
        problems = [_code_problem(example) for example in examples]
        modes, verdicts = judge_completions(problems, answers, limits(task))
        shape = (len(examples), task.samples)
        names = np.array([[verdict.name for verdict in row] for row in verdicts]).reshape(
            shape
        )  # (examples, n)
        n_passed = (names == Verdict.PASSED.name).sum(axis=1).tolist()
        by_k = {k: np.array([pass_at_k(task.samples, c, k) for c in n_passed]) for k in task.pass_at}
        parts = {f"pass@{k}": float(outcomes.mean()) for k, outcomes in by_k.items()}
        parts |= _fraction_if_any(TIMED_OUT, names == Verdict.TIMED_OUT.name)
        in_process = np.array([mode is JudgingMode.CANDIDATE_PROCESS for mode in modes])
        parts |= _fraction_if_any(TESTS_NOT_ISOLATED, in_process)
        return mean_grade(by_k[task.pass_at[0]], examples, parts)


def passing_completions(
    task: CodeSpec, answers: Sequence[Samples], examples: Sequence[Example]
) -> list[bool]:
    """Return, for each completion, whether its program passes. The programs run contained."""
    _, verdicts = judge_completions([_code_problem(example) for example in examples], answers, limits(task))
    return [verdict is Verdict.PASSED for row in verdicts for verdict in row]


def limits(task: Any) -> Limits:
    """Return the resource limits of a task's programs.

    Raises: DataError: an older version registered the task with limits that are no longer allowed.
    """
    requested = (
        ("timeout_s", task.timeout_s, LONGEST_TIMEOUT_S),
        ("memory_mb", task.memory_mb, LARGEST_MEMORY_MB),
    )
    for field, value, maximum in requested:
        if value > maximum:
            raise DataError(
                f"task '{task.name}': {field} is {value:g}; the maximum is {maximum:,}; lower it in the "
                "task's file and add the task again"
            )
    return Limits(seconds=task.timeout_s, memory_bytes=task.memory_mb * 2**20)


def _code_problem(example: Example) -> CodeProblem:
    before, _, after = example.check.partition(COMPLETION)
    return CodeProblem(before, after, example.target)


def _fraction_if_any(name: str, flags: np.ndarray) -> dict[str, float]:
    return {name: float(flags.mean())} if flags.any() else {}


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return 1 − C(n − c, k) / C(n, k): the probability that k of n samples, c of them correct, include a
    correct one.

    Source: Chen et al. 2021 (arXiv 2107.03374), equation 1.
    """
    return 1 - comb(n - c, k) / comb(n, k)
