"""Metrics over labels, by scikit-learn."""

from __future__ import annotations

import numpy as np

from lori_cl.tasks.scorers.base import FOREIGN, Labels, MeanOutcome, OverAll


def same_label(answer: str, target: str) -> float:
    """1.0 where the answer is the target."""
    return float(answer == target)


def _f1_macro(answers: Labels, targets: Labels) -> float:
    """The mean over the task's own labels, as far as they were answered or wanted."""
    from sklearn.metrics import f1_score  # takes a second to import

    own = [label for label in np.union1d(answers, targets) if label != FOREIGN]
    return float(f1_score(targets, answers, labels=own, average="macro", zero_division=0.0))


def _matthews(answers: Labels, targets: Labels) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(targets, answers))


ACCURACY = MeanOutcome(same_label)
F1_MACRO = OverAll(same_label, _f1_macro)
MATTHEWS = OverAll(same_label, _matthews, least_labels=2)
