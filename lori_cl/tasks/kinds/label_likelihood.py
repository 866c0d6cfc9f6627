r"""`classification` with a prompt: a causal language model's likeliest label words are the answer.

name: sentiment
kind: classification
source: {local: sst2}
labels: [Good, Bad]
prompt: "{{ text }}\nIs this review good or bad?"
label_words: [" good", " bad"]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lori_cl.errors import DataError
from lori_cl.spec import ClassificationSpec
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.base import Features
from lori_cl.tasks.kinds.causal import CausalKind, filled, taught
from lori_cl.tasks.kinds.labels import check_positions, label_of
from lori_cl.tasks.kinds.likelihood import cut_prompt, indistinct, likeliest
from lori_cl.tasks.kinds.prompt_tokens import word_ids
from lori_cl.tasks.prompts import columns_read
from lori_cl.tasks.rows import Rows, require_column


class LabelLikelihood(CausalKind):
    """Prompts with one label each."""

    def examples(self, task: ClassificationSpec, rows: Rows) -> list[Example]:
        """Render the prompt and check the label of every row."""
        assert task.prompt is not None, "a task without a prompt is asked of an encoder"
        require_column(rows, task.columns.label, "columns.label")
        prompt = task.prompt
        return rows.valid(
            lambda index, row, where: Example(
                index, filled(prompt, row, "prompt", where), label_of(task, rows, row, where)
            )
        )

    def columns(self, task: ClassificationSpec, *, training: bool = False) -> set[str]:
        """Those of the prompt, and the label's."""
        return {*columns_read(task.prompt or ""), task.columns.label}

    def check_counting(self, task: ClassificationSpec, splits: Sequence[Rows]) -> None:
        """Whole numbers are labels by position."""
        check_positions(task, splits)

    def label_warnings(self, task: ClassificationSpec, tokenizer: Any) -> list[str]:
        """Words that have no tokens, or the same as others, make answers a matter of order.

        Raises: DataError, naming the labels.
        """
        problem = indistinct([word_ids(tokenizer, words) for words in task.words], task.words)
        if problem is not None:
            raise DataError(f"task '{task.name}': the label words {problem}; give other label_words")
        return []

    def features(
        self, task: ClassificationSpec, tokenizer: Any, example: Example, max_length: int
    ) -> Features:
        """The label's words after the prompt."""
        words = task.words[task.labels.index(example.target)]
        return taught(task, tokenizer, example, word_ids(tokenizer, words), max_length)

    def truncated(self, task: Any, tokenizer: Any, examples: Sequence[Example], max_length: int) -> int:
        """How many do not fit together with the longest label's words."""
        return super().truncated(task, tokenizer, examples, max_length - _longest(task, tokenizer))

    def prompt_tokens(
        self, task: ClassificationSpec, tokenizer: Any, example: Example, max_length: int
    ) -> list[int]:
        """The prompt, cut so that the longest label's words fit behind it."""
        return cut_prompt(task, tokenizer, example, _longest(task, tokenizer), max_length)

    def shared_tokens(self, task: ClassificationSpec, tokenizer: Any) -> list[list[int]]:
        """The label words."""
        return [word_ids(tokenizer, words) for words in task.words]

    def answers(
        self,
        task: ClassificationSpec,
        learner: Any,
        tokenizer: Any,
        examples: Sequence[Example],
        max_length: int,
        sample: int = 0,
    ) -> list[str]:
        """The label with the likeliest words; ties go to the label named first."""
        choices = [task.words] * len(examples)
        best = likeliest(task, learner, tokenizer, examples, choices, max_length)
        return [task.labels[i] for i in best]


def _longest(task: ClassificationSpec, tokenizer: Any) -> int:
    """Tokens of the longest label's words."""
    return max(len(word_ids(tokenizer, words)) for words in task.words)
