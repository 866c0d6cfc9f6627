"""A template writes text and numbers; a null or Python object in a prompt or answer is refused."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest

from lori_cl.errors import DataError
from lori_cl.tasks.prompts import render

ROW: dict[str, Any] = {
    "q": "what is it",
    "label": "red",
    "golds": ["Paris", "paris, France"],
    "meta": {"items": ["x", "y"], "keys": "K", "deep": {"get": {"pop": "P"}}, "_id": 4},
    "items": "top",
    "update": "U",
    "no": None,
    "blob": b"x",
    "n": 7,
}


def written(template: str) -> str:
    return render(template, ROW, "answer", "qa.jsonl, line 3")


@pytest.mark.parametrize(
    ("template", "expression"),
    [
        ("{{ meta.items }}", "meta.items"),
        ("{{ meta['items'] }}", "meta['items']"),
        ("{{ meta.deep }}", "meta.deep"),
        ("{{ golds }}", "golds"),
        ("{{ golds[0:1] }}", "golds[…]"),
        ("{{ [golds, 1] }}", "[golds, 1]"),
        ("{{ (1, 2) }}", "(1, 2)"),
        ("{{ 'a' ~ golds }}", "golds"),
        ("{{ 'a' ~ no }}", "no"),
        ("{{ no }}", "no"),
        ("{{ blob }}", "blob"),
        ("{{ meta.values }}", "meta.values"),
        ("{{ q.title }}", "q.title"),
        ("{{ label.strip }}", "label.strip"),
        ("{{ label.strip ~ '' }}", "label.strip"),
        ("{{ label | attr('strip') }}", "label | attr('strip')"),
        ("{{ label.strip | default('x') }}", "label.strip"),
        ("{{ [label.strip] | tojson }}", "label.strip"),
        ("{{ 'yes' if meta.values else 'no' }}", "meta.values"),
        ("{% if label.strip %}yes{% endif %}", "label.strip"),
        ("{{ q }} {{ range }}", "range"),
        ("{{ dict }}", "dict"),
        ("{{ namespace(a=1) }}", "namespace(a=1)"),
        ("{{ cycler('a') }}", "cycler('a')"),
        ("{{ self }}", "self"),
        ("{% for c in golds %}{{ loop }}{% endfor %}", "loop"),
        ("{% macro m() %}{% endmacro %}{{ m }}", "m"),
        ("{{ golds | map('upper') }}", "golds | map('upper')"),
        ("{{ golds | reverse }}", "golds | reverse"),
        ("{{ q.split() }}", "q.split()"),
        ("{{ meta.get('items') }}", "meta.get('items')"),
        ("{% filter list %}ab{% endfilter %}", "list"),
        ("{% set x %}ab{% endset %}{{ x | list }}", "x | list"),
    ],
)
def test_value_that_is_not_text_or_number_is_refused_with_field_row_and_expression(
    template: str, expression: str
) -> None:
    with pytest.raises(DataError) as refused:
        written(template)
    assert str(refused.value).startswith(
        f"qa.jsonl, line 3: answer fails on this row: {{{{ {expression} }}}} "
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ golds | upper }}",
        "{{ golds | string }}",
        "{{ no | trim }}",
        "{{ '%s' % golds }}",
        "{{ '%s' | format(meta) }}",
        "{{ '%(a)s' % {'a': golds} }}",
        "{{ [golds, 1] | join(',') }}",
        "{{ [q, no] | join(',') }}",
        "{{ [q, label] | map(attribute='upper') | join }}",
        "{{ q | replace('what', golds) }}",
        "{{ golds | map('string') | list | first }}{{ [golds] | map('string') | join }}",
        "{% call namespace() %}{% endcall %}",
        "{% call dict() %}{% endcall %}",
    ],
)
def test_no_filter_or_format_turns_an_object_into_text(template: str) -> None:
    with pytest.raises(DataError, match=r"^qa\.jsonl, line 3: answer fails on this row"):
        written(template)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ meta.items[1] }}{{ meta['items'][0] }}", "yx"),
        ("{{ meta.keys }} {{ meta.deep.get.pop }} {{ meta['deep']['get']['pop'] }}", "K P P"),
        ("{{ items }} {{ update }} {{ meta._id }}", "top U 4"),
        ("{% for key, value in meta.items() %}{{ key }} {% endfor %}", "items keys deep _id "),
        ("{{ meta.get('keys') }}{{ meta.keys() | first }}", "Kitems"),
        ("{{ meta.items | join('+') }} {{ [meta] | map(attribute='items') | first | last }}", "x+y y"),
    ],
)
def test_column_named_like_a_method_is_read(template: str, text: str) -> None:
    assert written(template) == text


def test_missing_key_does_not_resolve_to_a_method() -> None:
    with pytest.raises(DataError, match="'dict object' has no attribute 'values'"):
        written("{{ meta['values'] }}")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (-0.5, "-0.5"),
        (True, "True"),
        (Decimal("1.50"), "1.50"),
        (datetime.date(2024, 1, 2), "2024-01-02"),
    ],
)
def test_numbers_booleans_and_dates_are_formatted_like_python(value: Any, text: str) -> None:
    assert (
        render("{{ a }}{{ '' ~ a }}{{ [a] | join }}{{ '%s' % a }}", {"a": value}, "prompt", "here")
        == text * 4
    )


def test_tojson_writes_a_structure() -> None:
    assert written("{{ meta.items | tojson }} {{ no | tojson }}") == '["x", "y"] null'
