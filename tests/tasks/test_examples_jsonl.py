from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example as also
from hypothesis import given, settings
from hypothesis import strategies as st

from lori_cl import digest
from lori_cl.tasks import Example, examples_digest, from_jsonl, to_jsonl

EXAMPLES = [Example(0, "a", "negative"), Example(3, "b", "positive")]
NASTY = 'line\u2028separator, next\x85line, carriage\rreturn, new\nline, "quotes" \\ and 🙂'

any_examples = st.lists(st.builds(Example, st.integers(0, 2**40), st.text(), st.text()), max_size=5)


@settings(deadline=None, max_examples=100)
@given(any_examples)
@also([Example(0, NASTY, NASTY)])
def test_examples_round_trip_through_jsonl(examples: list[Example]) -> None:
    assert from_jsonl(to_jsonl(examples)) == examples


@settings(deadline=None, max_examples=100)
@given(any_examples)
@also([Example(0, NASTY, NASTY)] * 2)
def test_every_example_is_one_line(examples: list[Example]) -> None:
    assert to_jsonl(examples).count(b"\n") == len(examples)


def test_digest_is_that_of_the_file() -> None:
    assert examples_digest(EXAMPLES) == digest.of_bytes(to_jsonl(EXAMPLES))


def test_jsonl_format_is_stable() -> None:
    written = to_jsonl([Example(7, "naïve 🙂", "positive")])
    assert written == '{"id": 7, "target": "positive", "text": "naïve 🙂"}\n'.encode()


@pytest.mark.parametrize(
    "changed",
    [
        [replace(EXAMPLES[0], text="a "), EXAMPLES[1]],
        [replace(EXAMPLES[0], target="positive"), EXAMPLES[1]],
        [replace(EXAMPLES[0], id=1), EXAMPLES[1]],
        EXAMPLES[::-1],
        EXAMPLES[:1],
    ],
    ids=["text", "target", "id", "order", "fewer"],
)
def test_digest_changes_with_the_content(changed: list[Example]) -> None:
    assert examples_digest(changed) != examples_digest(EXAMPLES)
