from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from lori_cl.spec import ClassificationSpec, GenerationSpec
from lori_cl.tasks import SCORERS, Scorer
from lori_cl.tasks.scorers.exact_match import normalise
from lori_cl.tasks.scorers.numeric import last_number

LABELS = ["negative", "neutral", "positive"]

answered = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=12)
quick = settings(deadline=None, max_examples=30)


def half_right(answers: int) -> tuple[list[str], list[str]]:
    """Answers of which one in four is wrong, and their targets."""
    return ["positive"] * answers, ["negative" if i % 4 == 0 else "positive" for i in range(answers)]


@quick
@given(answered)
def test_accuracy_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    answers, targets = map(list, zip(*pairs, strict=True))
    assert SCORERS["accuracy"].score(answers, targets) == pytest.approx(accuracy_score(targets, answers))


@quick
@given(answered)
def test_macro_f1_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    answers, targets = map(list, zip(*pairs, strict=True))
    expected = f1_score(targets, answers, average="macro", zero_division=0.0)
    assert SCORERS["f1_macro"].score(answers, targets) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:A single label was found")
@quick
@given(answered)
def test_matthews_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    answers, targets = map(list, zip(*pairs, strict=True))
    expected = matthews_corrcoef(targets, answers)
    assert SCORERS["matthews"].score(answers, targets) == pytest.approx(expected, abs=1e-12)


def test_macro_f1_weighs_a_rare_label_as_much_as_a_frequent_one() -> None:
    # 'positive' has precision 3/4 and recall 1, so F1 6/7; 'negative' was never answered, so 0.
    assert SCORERS["f1_macro"].score(*half_right(4)) == pytest.approx((6 / 7 + 0) / 2)


def test_matthews_of_one_answer_for_everything_is_zero() -> None:
    assert SCORERS["matthews"].score(*half_right(4)) == 0.0


@pytest.mark.parametrize("metric", sorted(SCORERS))
def test_outcomes_are_in_the_examples_order(metric: str) -> None:
    outcomes = SCORERS[metric].outcomes(["1", "2", "3"], ["1", "x", "3"])
    assert outcomes.tolist() == [1.0, 0.0, 1.0]


def test_answers_and_targets_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="longer"):
        SCORERS["accuracy"].outcomes(["a"], ["a", "b"])


@pytest.mark.parametrize("spec", [ClassificationSpec, GenerationSpec])
def test_every_metric_a_task_may_name_has_a_scorer(
    spec: type[ClassificationSpec] | type[GenerationSpec],
) -> None:
    declared = spec.model_json_schema()["properties"]["metric"]
    assert set(declared.get("enum") or [declared["const"]]) <= set(SCORERS)


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        ("Paris.", "paris"),
        (" Paris \n", "Paris"),
        ("new   york", "New York"),
        ("new\nyork", "New York"),
        ("ＰＡＲＩＳ", "paris"),
        ("１２", "12"),
        ("ﬁn", "fin"),
        ("STRASSE", "straße"),
        ("42 .", "42"),
        ("cafe\u0301", "café"),
    ],
)
def test_an_exact_match_overlooks_how_a_text_is_set(answer: str, target: str) -> None:
    assert SCORERS["exact_match"].outcome(answer, target) == 1.0


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        ("-5", "5"),
        ("5%", "5"),
        ("$5", "5"),
        ("1.5", "15"),
        (".5", "5"),
        ("3/4", "34"),
        ("no", "no, never"),
        ("newyork", "new york"),
        ("café", "cafe"),
        ("", "5"),
        ("a?", "a"),
    ],
)
def test_an_exact_match_overlooks_nothing_that_means_something(answer: str, target: str) -> None:
    assert SCORERS["exact_match"].outcome(answer, target) == 0.0


def test_a_normalised_text_reads_as_it_is_documented() -> None:
    assert normalise("  The\u3000ANSWER\tis ５. ") == "the answer is 5"


@pytest.mark.parametrize("metric", ["accuracy", "exact_match"])
def test_the_standard_error_of_a_mean_is_its_formula(metric: str) -> None:
    # p = 3/4 over 8 answers: std (ddof = 1) = √(8/7 · p(1 − p)), over √8.
    expected = math.sqrt(8 / 7 * 0.75 * 0.25) / math.sqrt(8)
    assert SCORERS[metric].standard_error(*half_right(8)) == pytest.approx(expected)


def mean_right(answers: list[str], targets: list[str]) -> float:
    return float(np.mean([a == t for a, t in zip(answers, targets, strict=True)]))


BOOTSTRAPPED_MEAN = Scorer(SCORERS["accuracy"].outcome, mean_right)


def test_a_bootstrapped_standard_error_is_near_the_formula_where_there_is_one() -> None:
    formula = SCORERS["accuracy"].standard_error(*half_right(100))
    assert BOOTSTRAPPED_MEAN.standard_error(*half_right(100)) == pytest.approx(formula, rel=0.1)


def test_a_bootstrapped_standard_error_is_the_same_every_time() -> None:
    errors = {BOOTSTRAPPED_MEAN.standard_error(*half_right(20)) for _ in range(3)}
    assert len(errors) == 1


def test_a_bootstrap_leaves_numpys_global_generator_untouched() -> None:
    before = np.random.get_state()[1].tolist()
    BOOTSTRAPPED_MEAN.standard_error(*half_right(20))
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize("metric", sorted(SCORERS))
def test_one_answer_has_no_standard_error(metric: str) -> None:
    assert SCORERS[metric].standard_error(["a"], ["a"]) is None


def test_a_score_is_a_plain_float_that_json_can_hold() -> None:
    scores = [scorer.score(*half_right(4)) for scorer in SCORERS.values()]
    assert {type(score) for score in scores} == {float}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so the answer is 42.", "42"),
        ("#### 1,234", "1234"),
        ("$1,234,567.50 in all", "1234567.5"),
        ("3 apples and then 5", "5"),
        ("it falls to -5 degrees", "-5"),
        ("it falls to −0.5", "-0.5"),
        ("10-3", "3"),
        ("three quarters, 3/4", "3/4"),
        ("1 1/2 cups", "3/2"),
        ("-2/4", "-1/2"),
        (".25", "1/4"),
        ("1,23", "23"),
        ("1/0", "0"),
        ("version 2", "2"),
    ],
)
def test_the_last_number_is_read_exactly(text: str, number: str) -> None:
    assert last_number(text) == Fraction(number)


def test_a_number_is_matched_by_its_value_and_nothing_by_nothing() -> None:
    outcome = SCORERS["numeric_match"].outcome
    assert outcome("about 0.50", "1/2") == 1.0
    assert outcome("1,000", "so: 1000.0") == 1.0
    assert outcome("none", "5") == outcome("5", "none") == outcome("none", "none") == 0.0


def test_f1_counts_shared_words_without_articles_and_punctuation() -> None:
    outcome = SCORERS["f1"].outcome
    assert outcome("The cat sat.", "a cat sat") == 1.0
    assert outcome("cat cat dog", "cat") == pytest.approx(2 * 1 / (3 + 1))
    assert (outcome("", "cat"), outcome("the", "a")) == (0.0, 1.0)


def test_rouge_l_is_over_the_longest_common_subsequence() -> None:
    # 'police killed the gunman' / 'police kill the gunman': 3 of 4 words in order, both ways.
    assert SCORERS["rouge_l"].outcome("police kill the gunman", "police killed the gunman") == 0.75


def test_sentence_bleu_of_the_wanted_text_is_one_and_of_another_is_near_none() -> None:
    outcome = SCORERS["sentence_bleu"].outcome
    assert outcome("yes", "yes") == pytest.approx(1.0)
    assert outcome("x y z", "the cat sat on the mat") < 0.05
