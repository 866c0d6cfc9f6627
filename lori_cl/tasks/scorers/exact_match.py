"""Exact match: whether the answer equals the target after normalisation."""

from __future__ import annotations

import unicodedata

from lori_cl.tasks.scorers.base import MeanOutcome
from lori_cl.tasks.scorers.earlier import exact_match_1


def normalise(text: str) -> str:
    """Normalise a text: NFKC, case folded, spaces collapsed, final full stops removed.

    Other punctuation stays: '-5' is not '5'. A text that contains only full stops keeps them.
    """
    collapsed = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return collapsed.rstrip(". ") or collapsed


def _same_text(answer: str, target: str) -> float:
    return float(normalise(answer) == normalise(target))


EXACT_MATCH = MeanOutcome(_same_text, earlier=(exact_match_1,))
