"""A metric: the first letter of the answer is the target's."""

from lori_cl.tasks.scorers.base import MeanOutcome


def first_letter(answer: str, target: str) -> float:
    """1.0 where both begin with the same letter."""
    return float(answer.strip()[:1].lower() == target.strip()[:1].lower() != "")


FIRST_LETTER = MeanOutcome(first_letter)
