"""Earlier versions of metrics, so that a recorded score is verified with the rules it was graded with."""

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
    """Version 1 of exact_match: it removed full stops even if the text contained nothing else."""
    return float(_without_full_stop(answer) == _without_full_stop(target))


def f1_1(answer: str, target: str) -> float:
    """Version 1 of f1: texts of articles and punctuation alone were equal to each other and to ''."""
    found, expected = _words(answer), _words(target)
    if not found or not expected:
        return float(found == expected)
    return 2 * (Counter(found) & Counter(expected)).total() / (len(found) + len(expected))


def numeric_match_1(answer: str, target: str) -> float:
    """Version 1 of numeric_match: the last run of digits counted, regardless of its context."""
    expected = _last_number(target)
    return float(expected is not None and _last_number(answer) == expected)


def _without_full_stop(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(". ")


def _words(text: str) -> list[str]:
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return _ARTICLES.sub(" ", bare).split()


def _last_number(text: str) -> Fraction | None:
    found = None
    for found in _NUMBER.finditer(text):  # noqa: B007 (the last one is used)
        pass
    if found is None or len(found[0]) > _LONGEST_NUMBER:
        return None
    if found["plain"] is not None:
        value = Fraction(found["plain"].replace(",", ""))
    else:
        value = int(found["whole"] or 0) + Fraction(int(found["top"]), int(found["bottom"]))
    return -value if found["minus"] else value
