"""Metrics over labels, computed with scikit-learn."""

from __future__ import annotations

import numpy as np

from lori_cl.tasks.scorers.base import NOT_A_LABEL, AggregateScorer, Labels, MeanOutcome


def same_label(answer: str, target: str) -> float:
    """Return 1.0 if the answer is the target, else 0.0."""
    return float(answer == target)


def _f1_macro(answers: Labels, targets: Labels) -> float:
    """Return the mean F1 over the task's labels that occur among the answers or targets."""
    from sklearn.metrics import f1_score  # takes a second to import

    own = [label for label in np.union1d(answers, targets) if label != NOT_A_LABEL]
    return float(f1_score(targets, answers, labels=own, average="macro", zero_division=0.0))


def _matthews(answers: Labels, targets: Labels) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(targets, answers))


ACCURACY = MeanOutcome(same_label)
F1_MACRO = AggregateScorer(same_label, _f1_macro)
MATTHEWS = AggregateScorer(same_label, _matthews, least_labels=2)
