from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.errors import DataError
from lori_cl.task_data.preview import preview

Write = Callable[..., Path]


def test_preview_shows_the_first_examples_of_each_split(write_task: Write) -> None:
    train, test = preview(write_task("a"), None, 16)
    assert (train.split, train.n, test.split, test.n) == ("train", 16, "test", 8)
    assert [e.target for e in train.first] == ["red", "blue", "red"]
    assert train.lengths is None


def test_preview_counts_tokens_and_truncated_examples(write_task: Write, tiny_encoder: Path) -> None:
    train, _ = preview(write_task("a"), str(tiny_encoder), 4)
    assert train.lengths is not None
    assert (train.lengths.median, train.lengths.longest, train.lengths.truncated) == (5, 5, 16)


def test_answer_without_room_for_its_prompt_is_refused_before_storing(
    write_task: Write, tiny_causal_lm: Path
) -> None:
    file = write_task("a", kind="generation", prompt="{{ text }}", answer="{{ text }}")
    file.write_text("".join(line for line in file.open() if not line.startswith(("labels:", "- "))))
    with pytest.raises(DataError, match=r"the answer has 6 tokens, but train\.max_length is 6"):
        preview(file, str(tiny_causal_lm), 6)
