"""The interface of a task kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from lori_cl.spec import TaskSpec
from lori_cl.tasks.examples import Example
from lori_cl.tasks.rows import Row, Rows

Architecture = Literal["encoder", "causal-lm", "seq2seq-lm"]
"""A type of base model: `load_base` loads an encoder-decoder model as `seq2seq-lm`."""

Batch = dict[str, Tensor]
"""Keyword arguments of a learner's forward, each (batch, …)."""


class Features(NamedTuple):
    """One training example as token ids."""

    fields: dict[str, Any]
    """`input_ids` and `labels`."""
    truncated: bool
    """Whether tokens were removed to fit `max_length`."""


class ReferenceAnswer(NamedTuple):
    """The answer read from a model that generates the reference answer."""

    answer: str
    problem: str | None = None
    """Why it does not get full marks; None if no reason is known."""


class Kind(ABC):
    """How tasks of one kind are read, trained on and answered; stateless."""

    architecture: Architecture
    """The architecture of the base model; a kind for a `causal-lm` works with a `seq2seq-lm`, too."""
    spec: ClassVar[type[TaskSpec]]
    """The declaration's class, which the kind of a plugin sets; it has the fields `kind` and `metric`."""

    group_by_length: ClassVar[bool] = False
    """Whether training batches are grouped by length by default, if that saves padding."""
    answers_together: ClassVar[bool] = False
    """Whether `answers` gets all examples of an eval set at once, instead of a batch."""

    def frozen(self, task: Any) -> Any:
        """Return the declaration with what is recorded when the task is added."""
        return task

    def own_rows(self, task: Any) -> Rows | None:
        """Return the rows of the eval set, if the kind has a data set of its own; None: those of `source`."""
        return None

    def columns(self, task: Any, *, training: bool = False) -> set[str] | None:
        """Return the columns that `examples` (or `training_examples`) reads; None means all columns."""
        return None

    @abstractmethod
    def examples(self, task: Any, rows: Rows) -> list[Example]:
        """Render and check every row.

        Raises: DataError, naming the first offending row.
        """

    @abstractmethod
    def input_example(self, task: Any, row: Row, where: str) -> Example:
        """Return an example without a target, for prediction.

        Raises: DataError, if the row lacks a value that the task reads.
        """

    @abstractmethod
    def text_column(self, task: Any) -> str | None:
        """Return the only column that the task reads; None if it reads several."""

    def input_row(self, task: Any) -> dict[str, Any]:
        """Return a row with a text in every column that `input_example` may read, for error messages.

        By default the only column; empty if the columns are not known.
        """
        column = self.text_column(task)
        return {} if column is None else placeholders({column})

    @abstractmethod
    def features(self, task: Any, tokenizer: Any, example: Example, max_length: int) -> Features:
        """Tokenize one training example to at most `max_length` tokens.

        Raises: DataError, if the part that must not be truncated does not fit.
        """

    @abstractmethod
    def collate(self, tokenizer: Any, fields: Sequence[dict[str, Any]]) -> Batch:
        """Pad features to a batch."""

    @abstractmethod
    def learner(self, model: nn.Module, head: nn.Module | None) -> nn.Module:
        """Return a module whose forward(**batch) returns {'loss': …, 'logits': …}."""

    @abstractmethod
    def prompt_tokens(self, task: Any, tokenizer: Any, example: Example, max_length: int) -> list[int]:
        """Return the input tokens of an example, truncated as for an answer."""

    def scored_tokens(self, task: Any, tokenizer: Any, example: Example, max_length: int) -> list[list[int]]:
        """Return every list of tokens that the answer depends on: the prompt and the choices."""
        return [self.prompt_tokens(task, tokenizer, example, max_length)]

    def shared_tokens(self, task: Any, tokenizer: Any) -> list[list[int]]:
        """Return every list of tokens that all answers depend on: the label words."""
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
        """Return the answers to one batch of examples; `sample` is the index of the sample, from 0."""

    def answer_samples(
        self, task: Any, learner: nn.Module, tokenizer: Any, examples: Sequence[Example], max_length: int
    ) -> list[list[str]]:
        """Return every sample of the answers to one batch: a list of answers for each example."""
        samples = range(self.samples(task))
        drawn = [self.answers(task, learner, tokenizer, examples, max_length, sample) for sample in samples]
        return [list(answers) for answers in zip(*drawn, strict=True)]

    def check_numbering(self, task: Any, splits: Sequence[Rows]) -> None:  # noqa: B027 (most kinds have none)
        """Make sure that numbers for labels or choices in these splits count from 0, or as declared.

        Raises: DataError, with the numbers found and the setting to add.
        """

    def training_examples(self, task: Any, rows: Rows) -> list[Example]:
        """Render and check every row of the training split.

        Raises: DataError, naming the first offending row.
        """
        return self.examples(task, rows)

    def reference_answer(self, task: Any, tokenizer: Any, example: Example) -> ReferenceAnswer:
        """Return the answer read if a model generates the reference answer; the tokenizer may be None."""
        return ReferenceAnswer(example.target)

    def label_warnings(self, task: Any, tokenizer: Any) -> list[str]:
        """Return warnings about labels that the tokenizer cannot distinguish.

        Raises: DataError, if the answers depend on the difference.
        """
        return []

    def decoding(self, task: Any) -> Hashable | None:
        """Return a key; the examples of tasks with equal keys can share a batch. None means that the task is
        always answered separately."""
        return None

    def samples(self, task: Any) -> int:
        """Return the number of answers per example."""
        return 1

    def prompt_length(self, task: Any, max_length: int, context: int) -> int:
        """Return the maximum number of prompt tokens, at most `max_length`, in a model that reads `context`.

        Raises: DataError, if the context of the model is too short for the task.
        """
        return max_length

    def encoder_length(self, task: Any, max_length: int, context: int) -> int:
        """Return the maximum number of prompt tokens, if the encoder and the decoder read `context` each.

        Raises: DataError, if the decoder reads too few tokens for the task.
        """
        return max_length

    def truncated(self, task: Any, tokenizer: Any, examples: Sequence[Example], max_length: int) -> int:
        """Return the number of examples that are truncated for scoring."""
        lengths = [len(ids) for ids in tokenizer([e.text for e in examples], truncation=False)["input_ids"]]
        return sum(length > max_length for length in lengths)

    def head(self, task: TaskSpec, width: int, seed: int) -> nn.Module | None:
        """Return the task's untrained head; None for a kind without heads."""
        return None

    def zero_shot_head(
        self, task: Any, model: nn.Module, tokenizer: Any, *, one_by_one: bool = False
    ) -> nn.Module | None:
        """Return a zero-shot head; None for a kind without heads.

        Set `one_by_one` for a model whose states depend on padding.
        """
        return None


def placeholders(columns: Iterable[str]) -> dict[str, Any]:
    """Return a row with a text in each of these columns: {'body': '<body>'}."""
    return {column: f"<{column}>" for column in sorted(columns)}
