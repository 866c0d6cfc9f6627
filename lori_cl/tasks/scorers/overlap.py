"""How much of the wanted text was written: graded outcomes in [0, 1], whose mean is the score."""

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
    """Harmonic mean of precision and recall over the words; source: SQuAD (Rajpurkar et al. 2016)."""
    written, wanted = _words(answer), _words(target)
    if not written or not wanted:
        return float(written == wanted)
    shared = (Counter(written) & Counter(wanted)).total()
    return 2 * shared / (len(written) + len(wanted))


def _words(text: str) -> list[str]:
    """SQuAD's own: lower case, no punctuation, no articles; all of them where nothing else is in the text."""
    lower = text.lower()
    bare = lower.translate(str.maketrans("", "", string.punctuation))
    return ARTICLES.sub(" ", bare).split() or bare.split() or lower.split()


def _rouge_l(answer: str, target: str) -> float:
    """F-measure over the longest common subsequence, by rouge-score; source: Lin 2004.

    Words are runs of a–z and 0–9, as in the original: it says nothing of texts in other scripts.
    """
    return float(_rouge().score(target, answer)["rougeL"].fmeasure)


def _sentence_bleu(answer: str, target: str) -> float:
    """BLEU of one text against one other, by sacrebleu; sources: Papineni et al. 2002, Post 2018.

    Smoothed exponentially, over no longer n-grams than the texts have: a short answer can reach 1.
    """
    from sacrebleu.metrics import BLEU

    percent = BLEU(effective_order=True).sentence_score(answer, [target]).score
    return min(1.0, float(percent) / 100)  # it may be a rounding error above


def _edit_similarity(answer: str, target: str) -> float:
    """1 − insertions and deletions over the characters of both texts, by rapidfuzz; as TRACE scores Py150."""
    return float(fuzz.ratio(answer, target)) / 100 if answer.strip() else 0.0


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # slow to import

    return RougeScorer(["rougeL"])


F1 = MeanOutcome(_f1, earlier=(f1_1,))
ROUGE_L = MeanOutcome(_rouge_l)
SENTENCE_BLEU = MeanOutcome(_sentence_bleu)
EDIT_SIMILARITY = MeanOutcome(_edit_similarity)
