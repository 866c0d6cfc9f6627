"""Who owns which cell: masks, the ledger, and how free cells are given out."""

from lori_cl.masks.allocation import allocate, cell_budget
from lori_cl.masks.ledger import Claim, Ledger
from lori_cl.masks.mask import Mask
from lori_cl.masks.strategies import STRATEGIES, Strategy

__all__ = ["STRATEGIES", "Claim", "Ledger", "Mask", "Strategy", "allocate", "cell_budget"]
