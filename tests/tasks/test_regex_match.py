from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lori_cl.errors import DataError
from lori_cl.spec import GenerationSpec
from lori_cl.tasks import SCORERS, Example, eval_examples
from lori_cl.tasks.scorers.regex_match import TIMEOUT_S, pattern_problem


def outcome(answer: str, pattern: str) -> float:
    grade = SCORERS["regex_match"].grade(None, [[answer]], [Example(0, "say", "yes", check=pattern)])
    return float(grade.outcomes[0])


def spec(**fields: Any) -> GenerationSpec:
    declared = {"name": "a", "kind": "generation", "source": {"local": "a"}, "prompt": "{{ q }}"}
    return GenerationSpec(**declared, answer="{{ a }}", metric="regex_match", **fields)


@pytest.mark.parametrize(
    ("answer", "pattern", "expected"),
    [
        ("It is 42 euros.", r"\b42\b", 1.0),
        ("It is 142 euros.", r"\b42\b", 0.0),
        ("YES", "(?i)^yes$", 1.0),
        ("yes, sir", "(?i)^yes$", 0.0),
        ("no", "yes|no", 1.0),
        (" ", "^ *$", 0.0),
    ],
)
def test_answer_counts_if_the_pattern_matches_anywhere_in_it(
    answer: str, pattern: str, expected: float
) -> None:
    assert outcome(answer, pattern) == expected


def test_pattern_of_exponential_time_scores_0_within_the_time_limit() -> None:
    started_at = time.monotonic()
    assert outcome("a" * 64 + "b", r"^(?:a|aa|a?a?a)+$") == 0.0
    assert time.monotonic() - started_at < 20 * TIMEOUT_S


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [("", "is empty"), ("(", "is not a regular expression"), ("a" * 1_001, "has 1,001 characters")],
)
def test_pattern_that_cannot_be_used_is_named(pattern: str, problem: str) -> None:
    found = pattern_problem(pattern)
    assert found is not None
    assert found.startswith(problem)


def test_pattern_is_rendered_for_each_row_and_must_be_a_regular_expression(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    rows = [{"q": "how many?", "a": "42 pieces", "n": 42}, {"q": "and now?", "a": "7", "n": 7}]
    for split in ("train", "test"):
        lines = [json.dumps({**row, "q": f"{split} {row['q']}"}) + "\n" for row in rows]
        (tmp_path / "a" / f"{split}.jsonl").write_text("".join(lines))
    examples = eval_examples(spec(pattern=r"\b{{ n }}\b"), tmp_path)
    assert [example.check for example in examples] == [r"\b42\b", r"\b7\b"]
    with pytest.raises(DataError, match=r"line 1: the pattern '\(42' is not a regular expression"):
        eval_examples(spec(pattern="({{ n }}"), tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "regex_match needs 'pattern'"),
        ({"pattern": "a", "metric": "f1"}, "'pattern' is not used by metric: f1; set metric: regex_match"),
    ],
)
def test_pattern_and_metric_belong_together(fields: dict[str, Any], message: str) -> None:
    declared = {"name": "a", "kind": "generation", "source": {"local": "a"}, "prompt": "{{ q }}"}
    with pytest.raises(ValidationError, match=message):
        GenerationSpec(**{**declared, "answer": "{{ a }}", "metric": "regex_match", **fields})


def test_task_without_a_pattern_is_recorded_as_before() -> None:
    declared = {"name": "a", "kind": "generation", "source": {"local": "a"}, "prompt": "{{ q }}"}
    assert "pattern" not in GenerationSpec(**declared, answer="{{ a }}").to_record()
