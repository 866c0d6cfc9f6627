r"""`multiple_choice`: the answer is the choice that a language model finds most likely after a prompt.

name: piqa
kind: multiple_choice
source: {local: piqa}
prompt: "Question: {{ goal }}\nAnswer:"
choices: ["{{ sol1 }}", "{{ sol2 }}"]     # or the name of a column that holds a list
delimiter: " "                            # text before every choice
answer: "{{ label }}"
answer_is: position                       # from 0; or number (from 1), letter, text
normalise: tokens                         # none, tokens or bytes
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from lori_cl.errors import DataError
from lori_cl.spec import MultipleChoiceSpec
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.base import Features, ReferenceAnswer, placeholders
from lori_cl.tasks.kinds.causal import CausalKind, answer_features, render_nonempty
from lori_cl.tasks.kinds.likelihood import answer_length, cut_prompt, indistinguishable, most_likely
from lori_cl.tasks.kinds.prompt_tokens import prompt_ids
from lori_cl.tasks.kinds.special_tokens import word_ids
from lori_cl.tasks.prompts import columns_read
from lori_cl.tasks.rows import Row, Rows, require_column


class MultipleChoice(CausalKind):
    """Prompts with several choices each, one of them correct."""

    def examples(self, task: MultipleChoiceSpec, rows: Rows) -> list[Example]:
        """Render the prompt and the choices of every row."""
        if isinstance(task.choices, str):
            require_column(rows, task.choices.partition(".")[0], "choices")
        examples: list[Example] = []

        def example_of(index: int, row: Row, where: str) -> Example:
            example = _example(task, index, row, where)
            if not task.allow_unequal:
                _check_equal(example, first=(examples or [example])[0], where=where)
            examples.append(example)
            return example

        return rows.valid(example_of)

    def columns(self, task: MultipleChoiceSpec, *, training: bool = False) -> set[str]:
        """Return the columns of the prompt, the choices and the answer."""
        return self.input_row(task).keys() | columns_read(task.answer)

    def check_numbering(self, task: MultipleChoiceSpec, splits: Sequence[Rows]) -> None:
        """Require a 0 among the numbers of a column, unless the task sets `answer_is`."""
        if "answer_is" in task.model_fields_set or not COLUMN.fullmatch(task.answer):
            return
        found = {text for rows in splits for text in _answers(task, rows)}
        if "0" not in found:
            listed = ", ".join(sorted(found)[:12])
            raise DataError(
                f"{splits[0].origin}: the answers are {listed} and never 0, so they may count from 0 or "
                "from 1; set answer_is: position (from 0) or answer_is: number (from 1) in the task"
            )

    def input_example(self, task: MultipleChoiceSpec, row: Row, where: str) -> Example:
        """Return an example with the prompt and its choices."""
        return Example(0, render_nonempty(task.prompt, row, "prompt", where), "", _choices(task, row, where))

    def text_column(self, task: MultipleChoiceSpec) -> None:
        """Return None: the task also reads its choices."""

    def input_row(self, task: MultipleChoiceSpec) -> dict[str, Any]:
        """Return a row with the columns of the prompt and the choices."""
        templates = () if isinstance(task.choices, str) else task.choices
        row = placeholders(columns_read(task.prompt, *templates))
        if isinstance(task.choices, str):
            column, _, field = task.choices.partition(".")
            choices = ["<first choice>", "<second choice>"]
            row[column] = {field: choices} if field else choices
        return row

    def reference_answer(self, task: MultipleChoiceSpec, tokenizer: Any, example: Example) -> ReferenceAnswer:
        """Return the correct choice, if the tokenizer distinguishes the choices."""
        tokens = [] if tokenizer is None else [word_ids(tokenizer, choice) for choice in example.choices]
        problem = indistinguishable(tokens, example.choices) if tokens else None
        return (
            ReferenceAnswer(example.target)
            if problem is None
            else ReferenceAnswer("", f"the choices {problem}")
        )

    def features(
        self, task: MultipleChoiceSpec, tokenizer: Any, example: Example, max_length: int
    ) -> Features:
        """Tokenize the prompt and the correct choice."""
        return answer_features(task, tokenizer, example, word_ids(tokenizer, example.target), max_length)

    def truncated(self, task: Any, tokenizer: Any, examples: Sequence[Example], max_length: int) -> int:
        """Return the number of prompts that do not fit with their longest choice."""
        return sum(
            len(prompt_ids(task, tokenizer, e)) + answer_length(tokenizer, _longest(tokenizer, e))
            > max_length
            for e in examples
        )

    def prompt_tokens(
        self, task: MultipleChoiceSpec, tokenizer: Any, example: Example, max_length: int
    ) -> list[int]:
        """Tokenize the prompt, truncated to leave room for the longest choice."""
        return cut_prompt(task, tokenizer, example, _longest(tokenizer, example), max_length)

    def scored_tokens(
        self, task: MultipleChoiceSpec, tokenizer: Any, example: Example, max_length: int
    ) -> list[list[int]]:
        """Return the tokens of the prompt, then of each choice."""
        prompt = self.prompt_tokens(task, tokenizer, example, max_length)
        return [prompt, *(word_ids(tokenizer, choice) for choice in example.choices)]

    def answers(
        self,
        task: MultipleChoiceSpec,
        learner: Any,
        tokenizer: Any,
        examples: Sequence[Example],
        max_length: int,
        sample: int = 0,
    ) -> list[str]:
        """Return the most likely choice of every example; ties go to the first choice."""
        choices = [e.choices for e in examples]
        best = most_likely(task, learner, tokenizer, examples, choices, max_length)
        return [texts[i] for texts, i in zip(choices, best, strict=True)]


COLUMN = re.compile(r"\s*\{\{\s*[\w.]+\s*\}\}\s*")
"""A template that only writes one column."""


def _longest(tokenizer: Any, example: Example) -> int:
    """Return the number of tokens of the example's longest choice."""
    return max(len(word_ids(tokenizer, choice)) for choice in example.choices)


def _example(task: MultipleChoiceSpec, index: int, row: Any, where: str) -> Example:
    choices = _choices(task, row, where)
    answer = render_nonempty(task.answer, row, "answer", where).strip()
    position = _position(task, choices, answer)
    if position is None or not 0 <= position < len(choices):
        raise DataError(
            f"{where}: the answer '{answer[:60]}' is not one of the {len(choices)} choices, with "
            f"answer_is: {task.answer_is}"
        )
    return Example(index, render_nonempty(task.prompt, row, "prompt", where), choices[position], choices)


def _check_equal(example: Example, first: Example, where: str) -> None:
    if len(example.choices) != len(first.choices):
        raise DataError(
            f"{where}: {len(example.choices)} choices, but the first row has {len(first.choices)}; set "
            "allow_unequal: true if this is correct"
        )


def _choices(task: MultipleChoiceSpec, row: Any, where: str) -> tuple[str, ...]:
    if isinstance(task.choices, str):
        column, _, key = task.choices.partition(".")
        if column not in row:
            raise DataError(f"{where}: column '{column}' is missing. Columns: {', '.join(row)}.")
        listed = row[column].get(key) if key and isinstance(row[column], Mapping) else row[column]
        if not isinstance(listed, list | tuple) or not all(isinstance(c, str) and c.strip() for c in listed):
            raise DataError(f"{where}: column '{task.choices}' does not contain a list of texts")
        choices = tuple(listed)
    else:
        choices = tuple(render_nonempty(choice, row, "choices", where) for choice in task.choices)
    choices = tuple(f"{task.delimiter}{choice}" for choice in choices)
    if len(choices) < 2 or len(set(choices)) < len(choices):
        raise DataError(f"{where}: {len(choices)} choices; at least 2 are required, all different")
    return choices


def _position(task: MultipleChoiceSpec, choices: Sequence[str], answer: str) -> int | None:
    """Return the position of the correct choice, from 0; None if the answer has no valid form."""
    number = int(answer) if answer.isascii() and answer.isdecimal() and len(answer) < 10 else None
    match task.answer_is:
        case "position":
            return number
        case "number":
            return None if number is None else number - 1
        case "letter":
            letters = string.ascii_uppercase
            return letters.index(answer) if len(answer) == 1 and answer in letters else None
        case "text":
            return next((i for i, choice in enumerate(choices) if choice.strip() == answer), None)


def _answers(task: MultipleChoiceSpec, rows: Rows) -> Iterator[str]:
    """Yield the answers of a split; skip invalid rows."""
    for index, row in rows:
        with suppress(DataError):
            yield render_nonempty(task.answer, row, "answer", rows.where(index)).strip()
