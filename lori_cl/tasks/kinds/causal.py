"""What kinds on a causal language model share: prompts, losses on the answer alone, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lori_cl.errors import DataError, LoriError
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.base import Batch, Features, Kind
from lori_cl.tasks.kinds.padding import right_padded
from lori_cl.tasks.kinds.prompt_tokens import fitted, prompt_ids
from lori_cl.tasks.prompts import only_column, render
from lori_cl.tasks.rows import Row

IGNORED = -100
"""The label that transformers leaves out of the loss."""


class CausalKind(Kind):
    """A prompt, and what a language model is to write after it."""

    architecture = "causal-lm"

    def asked(self, task: Any, row: Row, where: str) -> Example:
        """The prompt alone."""
        return Example(0, filled(task.prompt, row, "prompt", where), "")

    def text_column(self, task: Any) -> str | None:
        """What the prompt reads."""
        return only_column(task.prompt)

    def collate(self, tokenizer: Any, fields: Sequence[dict[str, Any]]) -> Batch:
        """Pad on the right, as training wants it."""
        ids, mask = right_padded([f["input_ids"] for f in fields], tokenizer.pad_token_id, "cpu")
        labels, _ = right_padded([f["labels"] for f in fields], IGNORED, "cpu")
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def truncated(self, task: Any, tokenizer: Any, examples: Sequence[Example], max_length: int) -> int:
        """How many prompts are cut."""
        return sum(len(prompt_ids(task, tokenizer, e)) > max_length for e in examples)

    def learner(self, model: nn.Module, head: nn.Module | None) -> nn.Module:
        """The language model itself."""
        return model


def taught(task: Any, tokenizer: Any, example: Example, answer: Sequence[int], max_length: int) -> Features:
    """Prompt and answer, loss on the answer only; the prompt is cut from the left, the answer never.

    Raises: DataError, if the answer leaves no room for a prompt.
    """
    prompt = prompt_ids(task, tokenizer, example)
    kept = fitted(task, tokenizer, example, prompt, room_for_prompt(example, len(answer), max_length))
    return Features(
        {"input_ids": [*kept, *answer], "labels": [IGNORED] * len(kept) + [*answer]},
        truncated=len(kept) < len(prompt),
    )


def room_for_prompt(example: Example, answer: int, max_length: int) -> int:
    """Tokens that are left for the prompt beside an answer of so many.

    Raises: DataError, if there are none.
    """
    room = max_length - answer
    if room < 1:
        raise DataError(
            f"row {example.id + 1}: the answer has {answer} tokens and train.max_length is "
            f"{max_length}; raise it above {answer}"
        )
    return room


def require_numbers(task: Any, scores: Tensor) -> None:
    """Make sure that a model's logits, or what was made of them, can answer.

    Raises: LoriError, if one is no number: any answer would come of that.
    """
    if bool(scores.isnan().any()):
        raise LoriError(
            f"task '{task.name}': the model's logits are no numbers; lower train.lr, or hold the weights in "
            "another model.dtype"
        )


def filled(template: str, row: Any, field: str, where: str) -> str:
    """A template over a row.

    Raises: DataError, if it fails, or writes nothing.
    """
    text = render(template, row, field, where)
    if not text.strip():
        raise DataError(f"{where}: the {field} is empty")
    return text
