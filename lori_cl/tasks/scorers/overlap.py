"""Text overlap metrics: graded outcomes in [0, 1], whose mean is the score."""

from __future__ import annotations

import re
import string
from collections import Counter
from functools import cache
from typing import Any

from rapidfuzz import fuzz

from lori_cl.tasks.scorers.base import MeanOutcome
from lori_cl.tasks.scorers.earlier import f1_1

ARTICLES = re.compile(r"\b(a|an|the)\b")


def _f1(answer: str, target: str) -> float:
    """Return the harmonic mean of precision and recall over words. Source: SQuAD (Rajpurkar et al. 2016)."""
    found, expected = _words(answer), _words(target)
    if not found or not expected:
        return float(found == expected)
    shared = (Counter(found) & Counter(expected)).total()
    return 2 * shared / (len(found) + len(expected))


def _words(text: str) -> list[str]:
    """Split into words as SQuAD does: lower case, no punctuation, no articles.

    Articles, then punctuation, are kept if the text contains nothing else.
    """
    lower = text.lower()
    bare = lower.translate(str.maketrans("", "", string.punctuation))
    return ARTICLES.sub(" ", bare).split() or bare.split() or lower.split()


def _rouge_l(answer: str, target: str) -> float:
    """Return the F-measure over the longest common subsequence, computed with rouge-score. Source: Lin 2004.

    Words are runs of a–z and 0–9, as in the original. The metric is meaningless for texts in other scripts.
    """
    return float(_rouge().score(target, answer)["rougeL"].fmeasure)


def _sentence_bleu(answer: str, target: str) -> float:
    """Return the BLEU of a text against one reference, computed with sacrebleu.

    Smoothing is exponential. N-grams are no longer than the texts, so a short answer can reach 1.
    Sources: Papineni et al. 2002, Post 2018.
    """
    from sacrebleu.metrics import BLEU

    percent = BLEU(effective_order=True).sentence_score(answer, [target]).score
    return min(1.0, float(percent) / 100)  # rounding can make it slightly larger than 1


def _edit_similarity(answer: str, target: str) -> float:
    """Return 1 − (insertions + deletions) / (characters of both texts), computed with rapidfuzz.

    Source: TRACE uses it to score Py150.
    """
    return float(fuzz.ratio(answer, target)) / 100 if answer.strip() else 0.0


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # slow to import

    return RougeScorer(["rougeL"])


F1 = MeanOutcome(_f1, earlier=(f1_1,))
ROUGE_L = MeanOutcome(_rouge_l)
SENTENCE_BLEU = MeanOutcome(_sentence_bleu)
EDIT_SIMILARITY = MeanOutcome(_edit_similarity)
