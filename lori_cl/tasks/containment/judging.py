"""Judge completions with their tasks' tests.

If the reference solution passes that way, the tests run in a separate process that contains no model-written
code (judge.py). The judging mode of an example depends on the task alone:

1. Tests that only call the candidate's functions and inspect the return values run isolated.
2. For other tests the reference solution is tried in each mode, in this order: isolated; isolated, with the
   candidate's operators used for tests on its objects; in the candidate's process.
3. The first mode in which the reference solution passes is used. If it passes in none, the first mode is
   used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial

from lori_cl.tasks.containment.limits import Limits, Verdict
from lori_cl.tasks.containment.run import in_parallel, judge_program
from lori_cl.tasks.containment.split import Program, Split, split


class JudgingMode(Enum):
    """Where the tests of an example run."""

    ISOLATED = "isolated"
    OPEN_OPERATORS = "isolated, with the candidate's operators"
    CANDIDATE_PROCESS = "in the candidate's process"


@dataclass(frozen=True)
class CodeProblem:
    """A program with a gap for a completion."""

    before: str
    after: str
    reference: str
    """The task's reference completion."""

    def program(self, completion: str, mode: JudgingMode) -> Program:
        """Return the program with a completion inserted, to be judged in this mode."""
        parts = self._split()
        if parts is None or mode is JudgingMode.CANDIDATE_PROCESS:
            return Program(self.before + completion + self.after)
        return parts.program(completion, open_operators=mode is JudgingMode.OPEN_OPERATORS)

    def modes(self) -> Sequence[JudgingMode]:
        """Return the modes to try, in order. A single mode needs no trial."""
        parts = self._split()
        if parts is None:
            return [JudgingMode.CANDIDATE_PROCESS]
        return [JudgingMode.ISOLATED] if parts.is_plain else list(JudgingMode)

    def _split(self) -> Split | None:
        return _split(self.before, self.reference, self.after)


_split = lru_cache(maxsize=1024)(split)


@lru_cache(maxsize=2**16)
def judging_mode(problem: CodeProblem, limits: Limits) -> JudgingMode:
    """Return the mode in which a problem's completions are judged.

    Raises: ContainmentMissing: programs cannot be contained here.
    """
    modes = problem.modes()
    for mode in modes if len(modes) > 1 else ():
        if judge_program(problem.program(problem.reference, mode), limits) is Verdict.PASSED:
            return mode
    return modes[0]


def judge_completions(
    problems: Sequence[CodeProblem], completions: Sequence[Sequence[str]], limits: Limits
) -> tuple[list[JudgingMode], list[list[Verdict]]]:
    """Judge completions; return the mode of each problem and the verdicts on its completions.

    Raises: ContainmentMissing: programs cannot be contained here.
    """
    modes = in_parallel(partial(judging_mode, limits=limits), problems, limits)
    mode_of = dict(zip(problems, modes, strict=True))
    jobs = [(p, text) for p, texts in zip(problems, completions, strict=True) for text in texts]
    verdicts = iter(
        in_parallel(lambda job: judge_program(job[0].program(job[1], mode_of[job[0]]), limits), jobs, limits)
    )
    return modes, [[next(verdicts) for _ in texts] for texts in completions]
