from __future__ import annotations

import pytest

from lori_cl.errors import DataError
from lori_cl.tasks.prompts import render

ROW = {"question": "2 + 2?", "choices": ["3", "4"], "hint": None}


def rendered(template: str) -> str:
    return render(template, ROW, "prompt", "sums.jsonl, line 5")


def test_a_template_is_filled_with_a_rows_columns() -> None:
    assert rendered("Q: {{ question }} ({{ choices | join(' or ') }})\nA:") == "Q: 2 + 2? (3 or 4)\nA:"


def test_a_template_may_choose_by_what_is_there() -> None:
    assert rendered("{{ question }}{% if hint %} Hint: {{ hint }}{% endif %}") == "2 + 2?"


def test_a_line_break_at_a_templates_end_stays() -> None:
    assert rendered("{{ question }}\n") == "2 + 2?\n"


def test_nothing_is_escaped_as_html_would_be() -> None:
    assert render("{{ a }}", {"a": "1 < 2 & 'x'"}, "prompt", "here") == "1 < 2 & 'x'"


def test_a_missing_column_is_named_with_the_columns_there_are() -> None:
    with pytest.raises(DataError) as missing:
        rendered("{{ qestion }}")
    assert str(missing.value) == (
        "sums.jsonl, line 5: prompt: 'qestion' is undefined. Columns: question, choices, hint."
    )


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''['__class__'] }}",
        "{{ question | attr('__class__') }}",
        "{{ '{0.__class__}'.format(question) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum.__globals__['os'] }}",
        "{{ self.__init__ }}",
        "{{ choices.append('5') }}",
    ],
)
def test_what_reaches_for_pythons_internals_is_refused_with_its_line(escape: str) -> None:
    with pytest.raises(DataError, match=r"^sums\.jsonl, line 5: prompt reaches .* sandbox: .*unsafe"):
        rendered(escape)


def test_a_template_cannot_change_the_row() -> None:
    row = {"choices": ["3", "4"]}
    with pytest.raises(DataError, match="sandbox"):
        render("{% set _ = choices.append('5') %}{{ choices }}", row, "prompt", "here")
    assert row == {"choices": ["3", "4"]}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ question ", "unexpected end of template"),
        ("{% if question %}", "Unexpected end of template"),
        ("{{ question | shout }}", "No filter named 'shout'"),
        ("{% frobnicate %}", "unknown tag 'frobnicate'"),
    ],
)
def test_a_template_with_a_syntax_error_is_refused_with_what_is_wrong(template: str, words: str) -> None:
    with pytest.raises(DataError, match=f"line 5: prompt is no Jinja template: .*{words}"):
        rendered(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ question + 1 }}",
        "{{ 1 / 0 }}",
        "{% include 'other' %}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "{{ question | round }}",
    ],
)
def test_a_template_that_fails_on_a_row_is_refused_with_its_line(template: str) -> None:
    with pytest.raises(DataError, match=r"^sums\.jsonl, line 5: prompt"):
        rendered(template)
