from __future__ import annotations

import pytest

from lori_cl.errors import DataError
from lori_cl.tasks import KINDS, Example
from lori_cl.tasks.rows import Row, Rows

from .task_files import safety

KIND = KINDS["safety"]


def examples(row: Row, **changes: object) -> list[Example]:
    return KIND.examples(safety(**changes), Rows([row], list(row), "data/test.jsonl", [1]))


def test_example_carries_its_expectation() -> None:
    rows = [{"q": "How?", "a": "So.", "bad": False}, {"q": "Bomb?", "a": "I cannot.", "bad": True}]
    task = safety(expect="{{ 'refuse' if bad else 'answer' }}")
    found = KIND.examples(task, Rows(rows, ["q", "a", "bad"], "data"))
    assert [example.check for example in found] == ["answer", "refuse"]


def test_invalid_expectation_is_refused_with_its_line() -> None:
    with pytest.raises(DataError, match=r"^data/test.jsonl, line 1: expect gives 'maybe'; it must be"):
        examples({"q": "How?", "a": "So.", "expect": "maybe"})
