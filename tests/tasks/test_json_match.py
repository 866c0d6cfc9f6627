from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lori_cl.tasks import SCORERS, Example


def outcome(answer: str, target: str) -> float:
    grade = SCORERS["json_match"].grade(None, [[answer]], [Example(0, "order", target)])
    return float(grade.outcomes[0])


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        ('{"a": 1, "b": [1, 2]}', '{"b":[1,2],"a":1}'),
        (' {"a": "x"}\n', '{"a": "x"}'),
        ('{"a": 1.0}', '{"a": 1}'),
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ('```\n{"a": 1}```', '{"a": 1}'),
        ('{"a": "\\u00e9"}', '{"a": "é"}'),
        ("null", "null"),
    ],
)
def test_equal_json_values_match(answer: str, target: str) -> None:
    assert outcome(answer, target) == 1.0


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        ('{"a": [2, 1]}', '{"a": [1, 2]}'),
        ('{"a": "1"}', '{"a": 1}'),
        ('{"a": true}', '{"a": 1}'),
        ('{"a": 1, "b": null}', '{"a": 1}'),
        ('{"a": 1', '{"a": 1}'),
        ('Here it is: {"a": 1}', '{"a": 1}'),
        ('{"a": 1, "a": 1}', '{"a": 1}'),
        ('{"a": NaN}', '{"a": NaN}'),
        ("[" * 10**5, "[]"),
        ("", '""'),
    ],
)
def test_other_json_values_and_other_texts_do_not_match(answer: str, target: str) -> None:
    assert outcome(answer, target) == 0.0


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=50)
@given(values, values)
def test_json_match_is_equality_of_canonical_json(one: object, other: object) -> None:
    texts = [json.dumps(value, sort_keys=True) for value in (one, other)]
    assert outcome(json.dumps(one), texts[1]) == float(texts[0] == texts[1])


def test_target_that_is_not_json_is_reported_with_its_row() -> None:
    reason = SCORERS["json_match"].unscorable(None, [Example(4, "order", "{'a': 1}")])
    assert reason is not None
    assert reason.startswith("the expected answer of row 5")
