from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from lori_cl.spec import TASK_SPECS
from lori_cl.tasks import SCORERS, Example, Grade
from lori_cl.tasks.scorers.base import AggregateScorer, MeanOutcome, Scorer
from lori_cl.tasks.scorers.exact_match import normalise
from lori_cl.tasks.scorers.numeric import last_number

LABELS = ["negative", "neutral", "positive"]

answered = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=12)
quick = settings(deadline=None, max_examples=30)
few = settings(deadline=None, max_examples=3)  # metrics with a bootstrapped standard error


PLAIN = sorted(metric for metric, scorer in SCORERS.items() if isinstance(scorer, MeanOutcome))
"""Metrics over an answer and its target alone."""


def grade(scorer: Scorer, answers: Sequence[str], targets: Sequence[str]) -> Grade:
    """Grade one answer per example of a task with the given labels."""
    return grade_of_labels({*answers, *targets}, scorer, answers, targets)


def grade_of_labels(
    labels: Collection[str], scorer: Scorer, answers: Sequence[str], targets: Sequence[str]
) -> Grade:
    examples = [Example(i, "", target) for i, target in enumerate(targets)]
    return scorer.grade(SimpleNamespace(labels=labels), [[answer] for answer in answers], examples)


def score(metric: str, answers: Sequence[str], targets: Sequence[str]) -> float:
    return grade(SCORERS[metric], answers, targets).score


def outcome(metric: str, answer: str, target: str) -> float:
    return float(grade(SCORERS[metric], [answer], [target]).outcomes[0])


def half_right(answers: int) -> tuple[list[str], list[str]]:
    """Answers, one in four of them wrong, and their targets."""
    return ["positive"] * answers, ["negative" if i % 4 == 0 else "positive" for i in range(answers)]


@quick
@given(answered)
def test_accuracy_matches_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    answers, targets = map(list, zip(*pairs, strict=True))
    assert score("accuracy", answers, targets) == pytest.approx(accuracy_score(targets, answers))


@few
@given(answered)
def test_macro_f1_matches_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    answers, targets = map(list, zip(*pairs, strict=True))
    expected = f1_score(targets, answers, average="macro", zero_division=0.0)
    assert score("f1_macro", answers, targets) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:A single label was found")
@few
@given(answered)
def test_matthews_matches_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    answers, targets = map(list, zip(*pairs, strict=True))
    expected = matthews_corrcoef(targets, answers)
    assert score("matthews", answers, targets) == pytest.approx(expected, abs=1e-12)


def test_macro_f1_weighs_a_rare_label_as_much_as_a_frequent_one() -> None:
    # 'positive' has precision 3/4 and recall 1, so F1 6/7; 'negative' was never predicted, so 0.
    assert score("f1_macro", *half_right(4)) == pytest.approx((6 / 7 + 0) / 2)


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "matthews"])
def test_all_labels_of_other_tasks_count_as_the_same_wrong_label(metric: str) -> None:
    targets = ["negative", "positive"] * 10
    own = grade_of_labels(LABELS, SCORERS[metric], targets, targets)
    some, other = (
        grade_of_labels(LABELS, SCORERS[metric], [*foreign, *targets[2:]], targets)
        for foreign in (["World", "World"], ["Sports", "5"])
    )
    assert (some.score, some.stderr) == (other.score, other.stderr)
    assert some.outcomes.tolist() == [0.0] * 2 + [1.0] * 18
    assert 0.8 < some.score < own.score == 1.0


def test_macro_f1_averages_over_the_labels_of_the_task_alone() -> None:
    # Precision 1 and recall 9/10 for both labels; 'World' is not a third class with F1 0.
    targets = ["negative", "positive"] * 10
    found = grade_of_labels(LABELS, SCORERS["f1_macro"], ["World", "World", *targets[2:]], targets)
    assert found.score == pytest.approx(18 / 19)


def test_matthews_of_a_constant_prediction_is_zero() -> None:
    assert score("matthews", *half_right(4)) == 0.0


@pytest.mark.parametrize("metric", PLAIN)
def test_outcomes_are_in_example_order(metric: str) -> None:
    outcomes = grade(SCORERS[metric], ["1", "2", "3"], ["1", "x", "3"]).outcomes
    assert outcomes.tolist() == [1.0, 0.0, 1.0]


def test_answers_and_targets_must_have_equal_length() -> None:
    with pytest.raises(ValueError, match="longer"):
        grade(SCORERS["accuracy"], ["a"], ["a", "b"])


@pytest.mark.parametrize("kind", TASK_SPECS)
def test_every_declarable_metric_has_a_scorer(kind: str) -> None:
    declared = TASK_SPECS[kind].model_json_schema()["properties"]["metric"]
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
def test_exact_match_ignores_formatting(answer: str, target: str) -> None:
    assert outcome("exact_match", answer, target) == 1.0


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
def test_exact_match_keeps_meaningful_differences(answer: str, target: str) -> None:
    assert outcome("exact_match", answer, target) == 0.0


def test_text_normalisation_matches_its_documentation() -> None:
    assert normalise("  The\u3000ANSWER\tis ５. ") == "the answer is 5"


@pytest.mark.parametrize("metric", ["accuracy", "exact_match"])
def test_standard_error_of_a_mean_matches_its_formula(metric: str) -> None:
    # p = 3/4 over 8 answers: std (ddof = 1) = √(8/7 · p(1 − p)), over √8.
    expected = math.sqrt(8 / 7 * 0.75 * 0.25) / math.sqrt(8)
    assert grade(SCORERS[metric], *half_right(8)).stderr == pytest.approx(expected)


def mean_right(answers: list[str], targets: list[str]) -> float:
    return float(np.mean([a == t for a, t in zip(answers, targets, strict=True)]))


BOOTSTRAPPED_MEAN = AggregateScorer(lambda answer, target: float(answer == target), mean_right)


def test_bootstrapped_standard_error_is_close_to_the_formula() -> None:
    formula = grade(SCORERS["accuracy"], *half_right(100)).stderr
    assert grade(BOOTSTRAPPED_MEAN, *half_right(100)).stderr == pytest.approx(formula, rel=0.1)


def test_bootstrapped_standard_error_is_reproducible() -> None:
    errors = {grade(BOOTSTRAPPED_MEAN, *half_right(20)).stderr for _ in range(3)}
    assert len(errors) == 1


def test_bootstrap_leaves_the_global_numpy_generator_unchanged() -> None:
    before = np.random.get_state()[1].tolist()
    assert grade(BOOTSTRAPPED_MEAN, *half_right(20)).stderr is not None
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize("metric", PLAIN)
def test_single_answer_has_no_standard_error(metric: str) -> None:
    assert grade(SCORERS[metric], ["a"], ["a"]).stderr is None


def test_score_is_a_plain_float_that_serializes_to_json() -> None:
    scores = [score(metric, *half_right(4)) for metric in PLAIN]
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
        ("1,23", "1.23"),
        ("1/0", "0"),
        ("version 2", "2"),
    ],
)
def test_last_number_of_an_answer_is_read_exactly(text: str, number: str) -> None:
    assert last_number(text) == Fraction(number)


def test_numbers_match_by_value_and_a_missing_number_never_matches() -> None:
    assert outcome("numeric_match", "about 0.50", "1/2") == 1.0
    assert outcome("numeric_match", "1,000", "so: 1000.0") == 1.0
    assert (
        outcome("numeric_match", "none", "5")
        == outcome("numeric_match", "5", "none")
        == outcome("numeric_match", "none", "none")
        == 0.0
    )


def test_token_f1_ignores_articles_and_punctuation() -> None:
    assert outcome("f1", "The cat sat.", "a cat sat") == 1.0
    assert outcome("f1", "cat cat dog", "cat") == pytest.approx(2 * 1 / (3 + 1))
    assert (outcome("f1", "", "cat"), outcome("f1", "the", "a")) == (0.0, 0.0)


def test_outcome_of_several_samples_is_their_mean() -> None:
    found = SCORERS["exact_match"].grade(
        None, [["5", "6"], ["6", "6"]], [Example(0, "", "5"), Example(1, "", "6")]
    )
    assert found.outcomes.tolist() == [0.5, 1.0]
    assert found.score == 0.75


def test_rouge_l_uses_the_longest_common_subsequence() -> None:
    # 'police killed the gunman' / 'police kill the gunman': 3 of 4 words in order, both ways.
    assert outcome("rouge_l", "police kill the gunman", "police killed the gunman") == 0.75


def test_sentence_bleu_is_one_for_the_target_and_near_zero_for_other_text() -> None:
    assert outcome("sentence_bleu", "yes", "yes") == pytest.approx(1.0)
    assert outcome("sentence_bleu", "x y z", "the cat sat on the mat") < 0.05


@pytest.mark.parametrize("target", ["A", "The", "!", ".", "...", "a the", "cat", "5", "The cat."])
@pytest.mark.parametrize("metric", PLAIN)
def test_blank_answer_scores_zero(metric: str, target: str) -> None:
    assert [outcome(metric, blank, target) for blank in ("", " ", "\n\t")] == [0.0] * 3


@pytest.mark.parametrize(
    ("metric", "target", "wrong"),
    [("f1", "A", "The"), ("f1", "!", "."), ("exact_match", ".", "!"), ("f1", "The", "!")],
)
def test_text_of_articles_or_punctuation_alone_is_compared_literally(
    metric: str, target: str, wrong: str
) -> None:
    assert (outcome(metric, target.lower(), target), outcome(metric, wrong, target)) == (1.0, 0.0)
