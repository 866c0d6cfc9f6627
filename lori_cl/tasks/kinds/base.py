"""What a task kind must be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from lori_cl.spec import TaskSpec
from lori_cl.tasks.examples import Example
from lori_cl.tasks.rows import Row, Rows

Architecture = Literal["encoder", "causal-lm"]

Batch = dict[str, Tensor]
"""What a learner's forward takes by name, each (batch, …)."""


class Features(NamedTuple):
    """One training example as token ids."""

    fields: dict[str, Any]
    """`input_ids` and `labels`."""
    truncated: bool
    """Whether tokens were left out to fit `max_length`."""


class Given(NamedTuple):
    """What is read of a model that gives the wanted answer."""

    answer: str
    problem: str | None = None
    """Why it is not the wanted answer; None where it is."""


class Kind(ABC):
    """How tasks of one kind are read, taught and answered; it holds no state."""

    architecture: Architecture
    """The base model it needs."""

    def columns(self, task: Any, *, training: bool = False) -> set[str] | None:
        """The columns that `examples` reads, or `lessons` where it is for training; None for all of them."""
        return None

    @abstractmethod
    def examples(self, task: Any, rows: Rows) -> list[Example]:
        """Render and check every row.

        Raises: DataError, naming the first offending row.
        """

    @abstractmethod
    def asked(self, task: Any, row: Row, where: str) -> Example:
        """An example whose answer nobody knows yet.

        Raises: DataError, if the row lacks what the task reads.
        """

    @abstractmethod
    def text_column(self, task: Any) -> str | None:
        """The one column that the task reads; None where it reads several."""

    @abstractmethod
    def features(self, task: Any, tokenizer: Any, example: Example, max_length: int) -> Features:
        """One example for training, at most `max_length` tokens long.

        Raises: DataError, if what must not be truncated does not fit.
        """

    @abstractmethod
    def collate(self, tokenizer: Any, fields: Sequence[dict[str, Any]]) -> Batch:
        """Pad features to one batch."""

    @abstractmethod
    def learner(self, model: nn.Module, head: nn.Module | None) -> nn.Module:
        """A module whose forward(**batch) gives {'loss': …, 'logits': …}."""

    @abstractmethod
    def prompt_tokens(self, task: Any, tokenizer: Any, example: Example, max_length: int) -> list[int]:
        """The tokens that are read of an example before it is answered, cut as for an answer."""

    def scored_tokens(self, task: Any, tokenizer: Any, example: Example, max_length: int) -> list[list[int]]:
        """Every list of tokens that the example's answer depends on: its prompt, and its choices."""
        return [self.prompt_tokens(task, tokenizer, example, max_length)]

    def shared_tokens(self, task: Any, tokenizer: Any) -> list[list[int]]:
        """Every list of tokens that the answers to all examples depend on: what stands for the labels."""
        return []

    @abstractmethod
    def answers(
        self,
        task: Any,
        learner: nn.Module,
        tokenizer: Any,
        examples: Sequence[Example],
        max_length: int,
        sample: int = 0,
    ) -> list[str]:
        """What the learner answers to one batch of examples; `sample` counts a kind's `samples` from 0."""

    def check_counting(self, task: Any, splits: Sequence[Rows]) -> None:  # noqa: B027 (most kinds have none)
        """Make sure that numbers for labels or choices in these splits are counted from 0, or as declared.

        Raises: DataError, with the numbers found and what to write.
        """

    def lessons(self, task: Any, rows: Rows) -> list[Example]:
        """Render and check every row of the training split.

        Raises: DataError, naming the first offending row.
        """
        return self.examples(task, rows)

    def given(self, task: Any, tokenizer: Any, example: Example) -> Given:
        """What is read of a model that gives the wanted answer; the tokenizer may be None."""
        return Given(example.target)

    def label_warnings(self, task: Any, tokenizer: Any) -> list[str]:
        """What the tokenizer cannot distinguish among the task's labels, and answers do without.

        Raises: DataError, if answers depend on it.
        """
        return []

    def decoding(self, task: Any) -> Hashable | None:
        """What tasks must have in common for their examples to be answered in one batch; None where each task
        answers alone."""
        return None

    def samples(self, task: Any) -> int:
        """Answers that are asked for of every example."""
        return 1

    def prompt_length(self, task: Any, max_length: int, context: int) -> int:
        """Tokens that may be read of an example, of `max_length` at most, in a model that reads `context`.

        Raises: DataError, if the model cannot do the task.
        """
        return max_length

    def truncated(self, task: Any, tokenizer: Any, examples: Sequence[Example], max_length: int) -> int:
        """How many of the examples are too long to be scored whole."""
        lengths = [len(ids) for ids in tokenizer([e.text for e in examples], truncation=False)["input_ids"]]
        return sum(length > max_length for length in lengths)

    def head(self, task: TaskSpec, width: int, seed: int) -> nn.Module | None:
        """The task's own head before training, or None for a kind without heads."""
        return None

    def zero_shot_head(
        self, task: Any, model: nn.Module, tokenizer: Any, *, one_by_one: bool = False
    ) -> nn.Module | None:
        """A head that answers with nothing learned, or None for a kind without heads.

        `one_by_one` is for a model whose states depend on padding.
        """
        return None
