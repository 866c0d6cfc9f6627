"""What `lori-cl verify` checks, one promise of the registry each.

To add one: write a function from the evidence to the line that says what was found, which raises `Untruth`
where that is not what the registry says, and name it here.
"""

from collections.abc import Callable, Mapping

from lori_cl.serving.checks.cells import ledger, masks, projections
from lori_cl.serving.checks.evidence import Evidence
from lori_cl.serving.checks.files import files
from lori_cl.serving.checks.records import curriculum, database, declarations
from lori_cl.serving.checks.score_chain import score_chain
from lori_cl.serving.checks.scores import eval_sets, matrix, proofs, scores
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
    "proofs": proofs,
    "statistics": statistics,
    "score chain": score_chain,
}
"""In this order: what a check reads, those before it have vouched for."""

__all__ = ["CHECKS", "Evidence"]
