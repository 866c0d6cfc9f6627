"""Metrics: turn answers into per-example outcomes, and outcomes into a score.

To add a metric, write `lori_cl/tasks/scorers/NAME.py` with a `Scorer`. Then list it here and in the spec of
its task kind.
"""

from lori_cl.plugins import Implementations
from lori_cl.spec.scorer_files import scorer_function
from lori_cl.tasks.scorers.base import Grade, JudgeUsage, Scorer
from lori_cl.tasks.scorers.exact_match import EXACT_MATCH
from lori_cl.tasks.scorers.function_scorer import FUNCTION_SCORER
from lori_cl.tasks.scorers.json_match import JSON_MATCH
from lori_cl.tasks.scorers.judge import JUDGE
from lori_cl.tasks.scorers.labels import ACCURACY, F1_MACRO, MATTHEWS
from lori_cl.tasks.scorers.lm_eval_score import LMEvalScore
from lori_cl.tasks.scorers.numeric import NUMERIC_MATCH
from lori_cl.tasks.scorers.overlap import EDIT_SIMILARITY, F1, ROUGE_L, SENTENCE_BLEU
from lori_cl.tasks.scorers.pass_at_k import PassAtK
from lori_cl.tasks.scorers.refusal import HarmonicRate
from lori_cl.tasks.scorers.regex_match import RegexMatch


class Scorers(Implementations[Scorer]):
    """The scorers by the `metric` of a task; FILE.py:FUNCTION is a scorer, too."""

    def __getitem__(self, name: str) -> Scorer:
        return super().__getitem__(name) if scorer_function(name) is None else FUNCTION_SCORER

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or scorer_function(name) is not None


SCORERS = Scorers(
    "lori_cl.scorers",
    {
        "accuracy": ACCURACY,
        "f1_macro": F1_MACRO,
        "matthews": MATTHEWS,
        "exact_match": EXACT_MATCH,
        "numeric_match": NUMERIC_MATCH,
        "json_match": JSON_MATCH,
        "regex_match": RegexMatch(),
        "f1": F1,
        "rouge_l": ROUGE_L,
        "sentence_bleu": SENTENCE_BLEU,
        "edit_similarity": EDIT_SIMILARITY,
        "pass_at_k": PassAtK(),
        "harmonic_rate": HarmonicRate(),
        "judge": JUDGE,
        "lm-eval": LMEvalScore(),
    },
    Scorer,
)

__all__ = ["SCORERS", "Grade", "JudgeUsage", "Scorer"]
