"""The checks of `lori-cl verify`.

To add a check, write a function that takes the evidence and returns a line that says what was verified. It
raises `VerificationError` if the files and the registry differ. Add it to `CHECKS`.
"""

from collections.abc import Callable, Mapping

from lori_cl.serving.checks.cells import ledger, masks, projections
from lori_cl.serving.checks.evidence import Evidence
from lori_cl.serving.checks.files import files
from lori_cl.serving.checks.records import curriculum, database, declarations
from lori_cl.serving.checks.score_chain import score_chain
from lori_cl.serving.checks.scores import cached_scores, eval_sets, matrix, scores
from lori_cl.serving.checks.stages import chain, seeds
from lori_cl.serving.checks.statistics import statistics

CHECKS: Mapping[str, Callable[[Evidence], str]] = {
    "database": database,
    "files": files,
    "declarations": declarations,
    "curriculum": curriculum,
    "chain": chain,
    "seeds": seeds,
    "projections": projections,
    "masks": masks,
    "ledger": ledger,
    "eval sets": eval_sets,
    "matrix": matrix,
    "scores": scores,
    "cached scores": cached_scores,
    "statistics": statistics,
    "score chain": score_chain,
}
"""In this order: each check reads only what earlier checks have verified."""

__all__ = ["CHECKS", "Evidence"]
