"""Whether the last number that was written is the wanted one."""

from __future__ import annotations

import re
from fractions import Fraction

from lori_cl.tasks.scorers.base import MeanOutcome

NUMBER = re.compile(
    r"(?P<minus>(?<![\w).])[-−])?"
    r"(?:(?:(?P<whole>\d+)\s+)?(?P<top>\d+)\s*/\s*(?P<bottom>0*[1-9]\d*)(?![\d.])"
    r"|(?P<plain>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+))"
)
"""1,234.5 and .5, 3/4 and 1 1/2; a minus only where nothing stands before it that it could subtract from."""

LONGEST = 1_000
"""Characters of a number; Python reads no more than 4,300 digits."""


def last_number(text: str) -> Fraction | None:
    """The last number in a text, exactly; None where there is none, or it is endless."""
    found = None
    for found in NUMBER.finditer(text):  # noqa: B007 (the last one is wanted)
        pass
    if found is None or len(found[0]) > LONGEST:
        return None
    if found["plain"] is not None:
        value = Fraction(found["plain"].replace(",", ""))
    else:
        value = int(found["whole"] or 0) + Fraction(int(found["top"]), int(found["bottom"]))
    return -value if found["minus"] else value


def _same_number(answer: str, target: str) -> float:
    wanted = last_number(target)
    return float(wanted is not None and last_number(answer) == wanted)


NUMERIC_MATCH = MeanOutcome(_same_number)
