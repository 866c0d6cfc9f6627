"""Metrics over labels, by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.metrics import f1_score, matthews_corrcoef

from lori_cl.tasks.scorers.base import MeanOutcome, OverAll


def same_label(answer: str, target: str) -> float:
    """1.0 where the answer is the target."""
    return float(answer == target)


def _f1_macro(answers: Sequence[str], targets: Sequence[str]) -> float:
    return float(f1_score(targets, answers, average="macro", zero_division=0.0))


def _matthews(answers: Sequence[str], targets: Sequence[str]) -> float:
    return float(matthews_corrcoef(targets, answers))


ACCURACY = MeanOutcome(same_label)
F1_MACRO = OverAll(same_label, _f1_macro)
MATTHEWS = OverAll(same_label, _matthews)
