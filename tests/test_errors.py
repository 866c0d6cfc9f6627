"""A message is one line that a terminal shows as it was written, whatever data it repeats."""

from __future__ import annotations

import pytest

from lori_cl.errors import DataError, SpecError, first_line, suggestion


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("a\nb\u2028c", "a\\nb\\u2028c"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("naïve 東京 🙂", "naïve 東京 🙂"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(data: str, shown: str) -> None:
    assert str(DataError(f"label '{data}' is unknown")) == f"label '{shown}' is unknown"


def test_a_message_keeps_its_ends_where_the_data_in_it_is_endless() -> None:
    message = str(SpecError(f"line 7: '{'x' * 10**6}' is no label; write one"))
    assert len(message) <= 2_001
    assert message.startswith("line 7: 'xxx")
    assert message.endswith("xxx' is no label; write one")


def test_the_first_line_of_an_error_that_says_nothing_is_its_name() -> None:
    assert [first_line(ValueError(said)) for said in ("", "\n \n", "\n one \ntwo")] == [
        *("ValueError", "ValueError"),
        "one",
    ]


def test_nothing_is_compared_with_a_name_of_thousands_of_characters() -> None:
    long = "".join(chr(0x4E00 + i % 20_000) for i in range(50_000))
    assert suggestion(long, [long, "short"]) == ""
    assert suggestion("shot", [long, "short"]) == " Did you mean 'short'?"
