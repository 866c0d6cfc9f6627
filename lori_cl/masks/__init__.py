"""Cell ownership: masks, the ledger, and the allocation of free cells."""

from lori_cl.masks.allocation import allocate
from lori_cl.masks.granularity import GRANULARITIES
from lori_cl.masks.ledger import Claim, Ledger, require_free, require_free_after_import
from lori_cl.masks.mask import Mask
from lori_cl.masks.strategies import STRATEGIES, Evidence, Strategy

__all__ = [
    "GRANULARITIES",
    "STRATEGIES",
    "Claim",
    "Evidence",
    "Ledger",
    "Mask",
    "Strategy",
    "allocate",
    "require_free",
    "require_free_after_import",
]
