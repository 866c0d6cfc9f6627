"""The checks of `lori-cl verify` on a run of the method lori."""

from lori_cl.serving.checks import RECORDS, SCORES

ALL_CHECKS = [*RECORDS, "projections", "masks", "ledger", *SCORES]
"""Their titles, in order."""
