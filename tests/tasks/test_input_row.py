"""The example of a row that an error of `predict` shows is a row that the task can read."""

from __future__ import annotations

from typing import Any

import pytest

from lori_cl.errors import DataError
from lori_cl.spec import TaskSpec, task_from_record
from lori_cl.tasks import kind_of

SOURCE = {"local": "data"}


def task(**fields: Any) -> TaskSpec:
    return task_from_record({"name": "t", "source": SOURCE, **fields})


TASKS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"kind": "classification", "labels": ["a", "b"]}, {"text": "<text>"}),
    (
        {
            "kind": "classification",
            "labels": ["a", "b"],
            "columns": {"text": "{{ title }}: {{ body }}", "label": "label"},
        },
        {"body": "<body>", "title": "<title>"},
    ),
    (
        {"kind": "classification", "labels": ["a", "b"], "prompt": "{{ premise }} {{ hypothesis }}"},
        {"hypothesis": "<hypothesis>", "premise": "<premise>"},
    ),
    (
        {"kind": "generation", "prompt": "{{ q }} {{ context }}", "answer": "{{ a }}"},
        {"context": "<context>", "q": "<q>"},
    ),
    (
        {"kind": "generation", "format": "messages"},
        {"messages": [{"role": "user", "content": "<text>"}]},
    ),
    (
        {"kind": "generation", "format": "sharegpt"},
        {"conversations": [{"from": "human", "value": "<text>"}]},
    ),
    (
        {
            "kind": "multiple_choice",
            "prompt": "{{ goal }}",
            "choices": ["{{ sol1 }}", "{{ sol2 }}"],
            "answer": "{{ label }}",
        },
        {"goal": "<goal>", "sol1": "<sol1>", "sol2": "<sol2>"},
    ),
    (
        {"kind": "multiple_choice", "prompt": "{{ q }}", "choices": "options", "answer": "{{ label }}"},
        {"q": "<q>", "options": ["<first choice>", "<second choice>"]},
    ),
    (
        {"kind": "multiple_choice", "prompt": "{{ q }}", "choices": "options.text", "answer": "{{ label }}"},
        {"q": "<q>", "options": {"text": ["<first choice>", "<second choice>"]}},
    ),
]


@pytest.mark.parametrize(("fields", "row"), TASKS)
def test_example_row_has_the_columns_of_the_input_and_can_be_read(
    fields: dict[str, Any], row: dict[str, Any]
) -> None:
    declared = task(**fields)
    kind = kind_of(declared)
    assert kind.input_row(declared) == row
    assert "<" in kind.input_example(declared, row, "line 1").text


@pytest.mark.parametrize(("fields", "row"), TASKS)
def test_no_column_of_the_example_row_can_be_left_out(fields: dict[str, Any], row: dict[str, Any]) -> None:
    declared = task(**fields)
    for column in row:
        without = {name: value for name, value in row.items() if name != column}
        with pytest.raises(DataError):
            kind_of(declared).input_example(declared, without, "line 1")
