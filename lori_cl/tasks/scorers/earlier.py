"""How metrics graded before their rules changed: recorded scores are verified by the rules of their time."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from fractions import Fraction

_NUMBER = re.compile(
    r"(?P<minus>(?<![\w).])[-−])?"
    r"(?:(?:(?P<whole>\d+)\s+)?(?P<top>\d+)\s*/\s*(?P<bottom>0*[1-9]\d*)(?![\d.])"
    r"|(?P<plain>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+))"
)
_LONGEST_NUMBER = 1_000
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def exact_match_1(answer: str, target: str) -> float:
    """Full stops were removed also where nothing else was in a text."""
    return float(_without_full_stop(answer) == _without_full_stop(target))


def f1_1(answer: str, target: str) -> float:
    """Texts of articles and punctuation alone were all equal, and equal to the empty text."""
    written, wanted = _words(answer), _words(target)
    if not written or not wanted:
        return float(written == wanted)
    return 2 * (Counter(written) & Counter(wanted)).total() / (len(written) + len(wanted))


def numeric_match_1(answer: str, target: str) -> float:
    """The last run of digits counted, whatever stood around it."""
    wanted = _last_number(target)
    return float(wanted is not None and _last_number(answer) == wanted)


def _without_full_stop(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(". ")


def _words(text: str) -> list[str]:
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return _ARTICLES.sub(" ", bare).split()


def _last_number(text: str) -> Fraction | None:
    found = None
    for found in _NUMBER.finditer(text):  # noqa: B007 (the last one is wanted)
        pass
    if found is None or len(found[0]) > _LONGEST_NUMBER:
        return None
    if found["plain"] is not None:
        value = Fraction(found["plain"].replace(",", ""))
    else:
        value = int(found["whole"] or 0) + Fraction(int(found["top"]), int(found["bottom"]))
    return -value if found["minus"] else value
