r"""`classification` with a prompt: the answer is the label whose words are most likely after the prompt.

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
from lori_cl.tasks.kinds.causal import CausalKind, answer_features, render_nonempty
from lori_cl.tasks.kinds.labels import check_positions, label_of
from lori_cl.tasks.kinds.likelihood import answer_length, cut_prompt, indistinguishable, most_likely
from lori_cl.tasks.kinds.special_tokens import word_ids
from lori_cl.tasks.prompts import columns_read
from lori_cl.tasks.rows import Rows, require_column


class LabelLikelihood(CausalKind):
    """Prompts with one label each."""

    def examples(self, task: ClassificationSpec, rows: Rows) -> list[Example]:
        """Render the prompt and check the label of every row."""
        assert task.prompt is not None, "a task without a prompt uses an encoder"
        require_column(rows, task.columns.label, "columns.label")
        prompt = task.prompt
        return rows.valid(
            lambda index, row, where: Example(
                index, render_nonempty(prompt, row, "prompt", where), label_of(task, rows, row, where)
            )
        )

    def columns(self, task: ClassificationSpec, *, training: bool = False) -> set[str]:
        """Return the columns of the prompt and the label."""
        return {*columns_read(task.prompt or ""), task.columns.label}

    def check_numbering(self, task: ClassificationSpec, splits: Sequence[Rows]) -> None:
        """Check labels that are given as positions."""
        check_positions(task, splits)

    def label_warnings(self, task: ClassificationSpec, tokenizer: Any) -> list[str]:
        """Reject label words that have no tokens or the same tokens, because only their order would decide.

        Raises: DataError, naming the labels.
        """
        problem = indistinguishable([word_ids(tokenizer, words) for words in task.words], task.words)
        if problem is not None:
            raise DataError(f"task '{task.name}': the label words {problem}; use other label_words")
        return []

    def features(
        self, task: ClassificationSpec, tokenizer: Any, example: Example, max_length: int
    ) -> Features:
        """Tokenize the prompt and the words of the label."""
        words = task.words[task.labels.index(example.target)]
        return answer_features(task, tokenizer, example, word_ids(tokenizer, words), max_length)

    def truncated(self, task: Any, tokenizer: Any, examples: Sequence[Example], max_length: int) -> int:
        """Return the number of prompts that do not fit with the longest label words."""
        longest = answer_length(tokenizer, _longest(task, tokenizer))
        return super().truncated(task, tokenizer, examples, max_length - longest)

    def prompt_tokens(
        self, task: ClassificationSpec, tokenizer: Any, example: Example, max_length: int
    ) -> list[int]:
        """Tokenize the prompt, truncated to leave room for the longest label words."""
        return cut_prompt(task, tokenizer, example, _longest(task, tokenizer), max_length)

    def shared_tokens(self, task: ClassificationSpec, tokenizer: Any) -> list[list[int]]:
        """Return the tokens of the label words."""
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
        """Return the label with the most likely words; ties go to the first label."""
        choices = [task.words] * len(examples)
        best = most_likely(task, learner, tokenizer, examples, choices, max_length)
        return [task.labels[i] for i in best]


def _longest(task: ClassificationSpec, tokenizer: Any) -> int:
    """Return the number of tokens of the longest label words."""
    return max(len(word_ids(tokenizer, words)) for words in task.words)
