"""An error message is one printable line, whatever data it contains."""

from __future__ import annotations

import pytest

from lori_cl.errors import DataError, SpecError, first_line, suggestion


@pytest.mark.parametrize(
    ("data", "escaped"),
    [
        ("a\nb\u2028c", "a\\nb\\u2028c"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("naïve 東京 🙂", "naïve 東京 🙂"),
    ],
)
def test_control_characters_in_a_message_are_escaped(data: str, escaped: str) -> None:
    assert str(DataError(f"label '{data}' is unknown")) == f"label '{escaped}' is unknown"


def test_long_message_is_shortened_in_the_middle() -> None:
    message = str(SpecError(f"line 7: '{'x' * 10**6}' is no label; write one"))
    assert len(message) <= 2_001
    assert message.startswith("line 7: 'xxx")
    assert message.endswith("xxx' is no label; write one")


def test_first_line_of_an_empty_error_is_its_class_name() -> None:
    assert [first_line(ValueError(text)) for text in ("", "\n \n", "\n one \ntwo")] == [
        *("ValueError", "ValueError"),
        "one",
    ]


def test_very_long_names_are_not_compared_for_suggestions() -> None:
    long = "".join(chr(0x4E00 + i % 20_000) for i in range(50_000))
    assert suggestion(long, [long, "short"]) == ""
    assert suggestion("shot", [long, "short"]) == " Did you mean 'short'?"
