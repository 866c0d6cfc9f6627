"""Judges completions, each by its task's tests.

The tests run in a process that holds nothing the model wrote (judge.py), where that gives the reference
solution its due. How an example is judged depends on the task alone:

1. Tests that do no more than call the candidate's functions and look at what they return are run apart.
2. For others the reference solution is tried: apart; apart, with the candidate's own operators deciding where
   the tests use them on its objects; and at last in the candidate's process.
3. The first way in which the reference solution passes is taken. Where it passes in none, the first is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial

from lori_cl.tasks.containment.limits import Limits, Verdict
from lori_cl.tasks.containment.run import in_parallel, judged
from lori_cl.tasks.containment.split import Program, Split, split


class Way(Enum):
    """Where the tests of an example run."""

    APART = "apart"
    OPEN_OPERATORS = "apart, with the candidate's operators"
    TOGETHER = "in the candidate's process"


@dataclass(frozen=True)
class Exercise:
    """A program with a place for a completion."""

    before: str
    after: str
    reference: str
    """The completion that the task itself gives."""

    def program(self, completion: str, way: Way) -> Program:
        """The program with a completion in it, to be judged in this way."""
        parts = self._split()
        if parts is None or way is Way.TOGETHER:
            return Program(self.before + completion + self.after)
        return parts.program(completion, open_operators=way is Way.OPEN_OPERATORS)

    def ways(self) -> Sequence[Way]:
        """In the order in which they are tried; one alone needs no trial."""
        parts = self._split()
        if parts is None:
            return [Way.TOGETHER]
        return [Way.APART] if parts.is_plain else list(Way)

    def _split(self) -> Split | None:
        return _split(self.before, self.reference, self.after)


_split = lru_cache(maxsize=1024)(split)


@lru_cache(maxsize=2**16)
def way_of(exercise: Exercise, limits: Limits) -> Way:
    """How completions of an exercise are judged.

    Raises: ContainmentMissing: programs cannot be contained here.
    """
    ways = exercise.ways()
    for way in ways if len(ways) > 1 else ():
        if judged(exercise.program(exercise.reference, way), limits) is Verdict.PASSED:
            return way
    return ways[0]


def judge_completions(
    exercises: Sequence[Exercise], completions: Sequence[Sequence[str]], limits: Limits
) -> tuple[list[Way], list[list[Verdict]]]:
    """How each exercise is judged, and the verdict on each of its completions.

    Raises: ContainmentMissing: programs cannot be contained here.
    """
    ways = in_parallel(partial(way_of, limits=limits), exercises, limits)
    of = dict(zip(exercises, ways, strict=True))
    jobs = [(e, text) for e, texts in zip(exercises, completions, strict=True) for text in texts]
    verdicts = iter(in_parallel(lambda job: judged(job[0].program(job[1], of[job[0]]), limits), jobs, limits))
    return ways, [[next(verdicts) for _ in texts] for texts in completions]
