"""Metrics: how answers become outcomes and outcomes a score.

To add one: write `lori_cl/tasks/scorers/NAME.py` with a `Scorer`, name it here and in the spec of its kind.
"""

from collections.abc import Mapping

from lori_cl.tasks.scorers.base import Scorer
from lori_cl.tasks.scorers.exact_match import EXACT_MATCH
from lori_cl.tasks.scorers.labels import ACCURACY, F1_MACRO, MATTHEWS

SCORERS: Mapping[str, Scorer] = {
    "accuracy": ACCURACY,
    "f1_macro": F1_MACRO,
    "matthews": MATTHEWS,
    "exact_match": EXACT_MATCH,
}

__all__ = ["SCORERS", "Scorer"]
