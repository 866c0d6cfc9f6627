"""The checks of `lori-cl verify`.

To add a check, write a function that takes the evidence and returns a line that says what was verified. It
raises `VerificationError` if the files and the registry differ. Add it to `RECORDS` or `SCORES`. What only
one method can check is in that method: `Method.checks`.
"""

from collections.abc import Callable, Mapping
from functools import partial

from lori_cl.methods import METHODS
from lori_cl.serving.checks.evidence import Evidence
from lori_cl.serving.checks.files import files
from lori_cl.serving.checks.records import curriculum, database, declarations
from lori_cl.serving.checks.score_chain import score_chain
from lori_cl.serving.checks.scores import cached_scores, eval_sets, matrix, scores
from lori_cl.serving.checks.stages import chain, seeds
from lori_cl.serving.checks.statistics import statistics

RECORDS: Mapping[str, Callable[[Evidence], str]] = {
    "database": database,
    "files": files,
    "declarations": declarations,
    "curriculum": curriculum,
    "chain": chain,
    "seeds": seeds,
}
"""Checks before the method's own. In this order: each check reads only what earlier checks have verified."""

SCORES: Mapping[str, Callable[[Evidence], str]] = {
    "eval sets": eval_sets,
    "matrix": matrix,
    "scores": scores,
    "cached scores": cached_scores,
    "statistics": statistics,
    "score chain": score_chain,
}
"""Checks after the method's own, in order."""


def checks_of(evidence: Evidence) -> dict[str, Callable[[], str]]:
    """Return every check of a run by title, in order.

    Raises: InputError, if the run's method is unknown.
    """
    return {
        **{title: partial(check, evidence) for title, check in RECORDS.items()},
        **METHODS.find(evidence.run.method).checks(evidence),
        **{title: partial(check, evidence) for title, check in SCORES.items()},
    }


__all__ = ["RECORDS", "SCORES", "Evidence", "checks_of"]
