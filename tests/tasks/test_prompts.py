from __future__ import annotations

import time

import pytest

from lori_cl.errors import DataError
from lori_cl.tasks.prompts import render

COUNTER = "{% set n = namespace(x=0) %}"


def doubling(step: str) -> str:
    return f"{COUNTER}{{% for i in range(99) %}}{step}{{% endfor %}}{{{{ n.x }}}}"


ROW = {"question": "2 + 2?", "choices": ["3", "4"], "hint": None}


def rendered(template: str) -> str:
    return render(template, ROW, "prompt", "sums.jsonl, line 5")


def test_template_is_filled_with_the_columns_of_a_row() -> None:
    assert rendered("Q: {{ question }} ({{ choices | join(' or ') }})\nA:") == "Q: 2 + 2? (3 or 4)\nA:"


def test_template_may_branch_on_missing_columns() -> None:
    assert rendered("{{ question }}{% if hint %} Hint: {{ hint }}{% endif %}") == "2 + 2?"


def test_trailing_newline_of_a_template_is_kept() -> None:
    assert rendered("{{ question }}\n") == "2 + 2?\n"


def test_text_is_not_html_escaped() -> None:
    assert render("{{ a }}", {"a": "1 < 2 & 'x'"}, "prompt", "here") == "1 < 2 & 'x'"


def test_missing_column_is_reported_with_the_available_columns() -> None:
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
        "{{ namespace.__init__.__globals__['os'] }}",
        "{{ question.format }}",
        "{{ self.__init__ }}",
        "{{ choices.append('5') }}",
    ],
)
def test_access_to_python_internals_is_refused_with_its_line(escape: str) -> None:
    with pytest.raises(DataError, match=r"^sums\.jsonl, line 5: prompt accesses .* sandbox: .*unsafe"):
        rendered(escape)


def test_template_cannot_change_the_row() -> None:
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
def test_template_syntax_error_is_refused_with_its_reason(template: str, words: str) -> None:
    with pytest.raises(DataError, match=f"line 5: prompt is not a valid Jinja template: .*{words}"):
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
def test_template_that_fails_on_a_row_is_refused_with_its_line(template: str) -> None:
    with pytest.raises(DataError, match=r"^sums\.jsonl, line 5: prompt"):
        rendered(template)


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("{% for c in choices %}{{ loop.index }}. {{ c }}\n{% endfor %}", "1. 3\n2. 4\n"),
        ("{% set q = question ~ '!' %}{{ q | upper | replace('?', '') }}", "2 + 2!"),
        ("{% macro f(c) %}({{ c }}){% endmacro %}{{ f(choices[0]) }}", "(3)"),
        (
            "{{ '%05.1f, %s' | format(3.25, choices[1]) }} {{ '%d' % 7 }} {{ 2.345 | round(2) }}",
            "003.2, 4 7 2.35",
        ),
        (
            "{{ choices | tojson }} {{ choices.index('4') }} {{ '-' * 3 }} {{ 2 ** 10 }}",
            '["3", "4"] 1 --- 1024',
        ),
        ("{{ absent | default('none') }}{{ '' if absent is defined else '!' }}", "none!"),
        ("{{ question.split(' ') | map('trim') | select | join('_') }}", "2_+_2?"),
        (
            "{% set n = namespace(i=0) %}{% for c in choices %}{% set n.i = n.i + 1 %}{% endfor %}{{ n.i }}",
            "2",
        ),
        ("In 1984: {{ 'year %s of 10000' % 5 }}", "In 1984: year 5 of 10000"),
    ],
)
def test_common_template_features_work(template: str, written: str) -> None:
    assert rendered(template) == written


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for a in choices recursive %}{{ loop(range(99999)) }}{% endfor %}",
        doubling("{% set n.x = n.x ~ n.x %}"),
        doubling("{% set n.x = n.x ~ 'a' %}{% set n.x = n.x + n.x %}"),
        doubling("{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}"),
        doubling("{% set n.x = [n.x, n.x] %}"),
        doubling("{% set n.x = (n.x + 9) * (n.x + 9) %}"),
        "{{ 10 ** (10 ** 10) }}",
        "{{ 'x' * 10 ** 10 }}",
        "{{ 10 ** 10 * ['x'] }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ '%*d' | format(10 ** 10, 1) }}",
        "{{ range(99999) | join('x' * 99999) }}",
        "{{ ('x' * 99999) | replace('x', 'y' * 99999) }}",
        "{{ ('x' * 99999).replace('x', 'y' * 99999) }}",
        "{{ 'x'.ljust(10 ** 10) }}",
        "{{ 'x' | center(10 ** 10) }}",
        "{{ ['x'] | batch(10 ** 10, 'x') | list }}",
        "{{ lipsum(n=10 ** 10) }}",
        "{{ 1.5 | round(10 ** 10, 'ceil') }}",
        "{{ [1] | tojson(indent=10 ** 10) }}",
        "{{ '{:>9999999999}'.format(1) }}",
        "{% filter replace('x', 'y' * 99999) %}{{ 'x' * 99999 }}{% endfilter %}",
        "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
        "{{ 1" + " + 1" * 15_000 + " }}",
        "x" * 70_000,
        "{% if 1 %}" * 3_000 + "{% endif %}" * 3_000,
        "{% for i in [1] %}" * 40 + "{% endfor %}" * 40,
        "{% for i in '0123456789' %}" * 8 + "{% if 1 == 2 %}{% endif %}" + "{% endfor %}" * 8,
        "{% for i in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10) %}" * 8 + "{% endfor %}" * 8,
        "{% for i in range(99999) %}" + "constant text " * 2_000 + "{% endfor %}",
        "{% for i in range(99999) %}{{ '" + "constant text " * 2_000 + "' }}{% endfor %}",
        "{% set a = [1] * 10 ** 6 %}{% set b = [a] * 10 ** 6 %}{{ b | length }}",
        "{% set a = 'x' * 10 ** 6 %}{{ a ~ a ~ a ~ a ~ a ~ a ~ a ~ a ~ a ~ a ~ a ~ a ~ a ~ a ~ a ~ a ~ a }}",
        "{{ '%(a)9999999999d' % {'a': 1} }}",
        "{{ ('%(a)999s' * 9999) % {'a': 'x'} }}",
        "{{ ('%(a)s' * 9999) % {'a': 'x' * 99999} }}",
        "{{ 2 ** 99999999 % 7 }}",
        "{{ (('f' * 10 ** 6) | int(0, 16)) // (('f' * 500000) | int(0, 16)) }}",
        "{{ ('z' * 10 ** 6).strip('y' * 10 ** 6 ~ 'z') }}",
        "{{ ('z' * 10 ** 6) | trim('y' * 10 ** 6 ~ 'z') }}",
        "{{ ('a' * 10 ** 6).rfind('b' ~ 'a' * 500000) }}",
        "{{ range(99999) | map('string') | map('replace', '1', 'x' * 99999) | join }}",
        "{% for a in [1] recursive %}{% set again = loop %}{{ again(range(99999)) }}{% endfor %}",
        "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
        doubling("{% set n.x = dict(a=n.x, b=n.x) %}"),
        "{{question}}" * 5_300,
    ],
)
def test_endless_or_oversized_template_is_refused_with_its_line(template: str) -> None:
    with pytest.raises(DataError, match=r"^sums\.jsonl, line 5: prompt"):
        rendered(template)


def test_characters_read_by_a_template_are_limited() -> None:
    row = {"text": "x" * 2**20}
    assert len(render("{{ text }}{{ text | upper }}", row, "prompt", "here")) == 2**21
    with pytest.raises(DataError, match="here: prompt fails on this row: it reads more than 16,777,216 char"):
        render("{% for i in range(20) %}{{ text[0] }}{% endfor %}", row, "prompt", "here")


def test_constant_expressions_are_not_computed_at_template_compilation() -> None:
    start = time.process_time()
    for template in ("{{ 'a' * 10 ** 9 }}", "{{ ('a' * 10 ** 6 ~ 'b') | replace('a', 'b' * 10 ** 6) }}"):
        with pytest.raises(DataError, match="an operation creates more than"):
            rendered(template)
    assert time.process_time() - start < 1


def test_read_limit_applies_to_each_row_separately() -> None:
    for _ in range(20):
        render("{{ text }}", {"text": "x" * 2**20}, "prompt", "here")


def test_column_named_like_the_budget_does_not_raise_the_limit() -> None:
    row = {" budget": "endless", "text": "x" * 2**24}
    with pytest.raises(DataError, match="it reads more than"):
        render("{{ text }}", row, "prompt", "here")
