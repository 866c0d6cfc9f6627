"""Base class of the kinds with a language model: prompts, loss on the answer only, padding.

The model is a causal language model, or an encoder-decoder model (`encoder_decoder.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lori_cl.errors import DataError, LoriError
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.base import Batch, Features, Kind, placeholders
from lori_cl.tasks.kinds.encoder_decoder import IGNORED, decoder_fields, decoder_start
from lori_cl.tasks.kinds.padding import right_padded
from lori_cl.tasks.kinds.prompt_tokens import fit_to_model, prompt_ids
from lori_cl.tasks.prompts import columns_read, only_column, render
from lori_cl.tasks.rows import Row


class CausalKind(Kind):
    """Prompts that a causal language model continues, or that an encoder-decoder model answers."""

    architecture = "causal-lm"

    def input_example(self, task: Any, row: Row, where: str) -> Example:
        """Return an example with the prompt only."""
        return Example(0, render_nonempty(task.prompt, row, "prompt", where), "")

    def text_column(self, task: Any) -> str | None:
        """Return the only column that the prompt reads."""
        return only_column(task.prompt)

    def input_row(self, task: Any) -> dict[str, Any]:
        """Return a row with the columns of the prompt."""
        return placeholders(columns_read(task.prompt))

    def collate(self, tokenizer: Any, fields: Sequence[dict[str, Any]]) -> Batch:
        """Pad on the right, as required for training."""
        ids, mask = right_padded([f["input_ids"] for f in fields], tokenizer.pad_token_id, "cpu")
        labels, _ = right_padded([f["labels"] for f in fields], IGNORED, "cpu")
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        if decoder_start(tokenizer):
            batch |= decoder_batch([f["decoder_input_ids"] for f in fields], tokenizer.pad_token_id, "cpu")
        return batch

    def truncated(self, task: Any, tokenizer: Any, examples: Sequence[Example], max_length: int) -> int:
        """Return the number of truncated prompts."""
        return sum(len(prompt_ids(task, tokenizer, e)) > max_length for e in examples)

    def learner(self, model: nn.Module, head: nn.Module | None) -> nn.Module:
        """Return the language model itself."""
        return model


def decoder_batch(ids: Sequence[Sequence[int]], pad: int, device: Any) -> Batch:
    """Pad the inputs of a decoder to a batch, on the right."""
    padded, mask = right_padded(ids, pad, device)
    return {"decoder_input_ids": padded, "decoder_attention_mask": mask}


def answer_features(
    task: Any, tokenizer: Any, example: Example, answer: Sequence[int], max_length: int
) -> Features:
    """Join prompt and answer with the loss on the answer only; truncate only the prompt, on the left.

    Raises: DataError, if the answer leaves no room for a prompt, or is longer than a decoder may read.
    """
    prompt = prompt_ids(task, tokenizer, example)
    room = room_for_prompt(tokenizer, example, len(answer), max_length)
    kept = fit_to_model(task, tokenizer, example, prompt, room)
    if start := decoder_start(tokenizer):
        fields = {"input_ids": kept, **decoder_fields(start, answer)}
    else:
        fields = {"input_ids": [*kept, *answer], "labels": [IGNORED] * len(kept) + [*answer]}
    return Features(fields, truncated=len(kept) < len(prompt))


def room_for_prompt(tokenizer: Any, example: Example, answer: int, max_length: int) -> int:
    """Return the number of tokens left for the prompt; `answer` is the number of answer tokens.

    In an encoder-decoder model, prompt and answer may have `max_length` tokens each.
    Raises: DataError, if none are left.
    """
    if start := decoder_start(tokenizer):
        read = len(start) - 1 + answer
        if read > max_length:
            raise DataError(
                f"row {example.id + 1}: the decoder reads {read} tokens for the answer, but "
                f"train.max_length is {max_length}; raise it to {read} or more"
            )
        return max_length
    room = max_length - answer
    if room < 1:
        raise DataError(
            f"row {example.id + 1}: the answer has {answer} tokens, but train.max_length is "
            f"{max_length}; raise it above {answer}"
        )
    return room


def require_numbers(task: Any, scores: Tensor) -> None:
    """Make sure that no logit, or value computed from logits, is NaN.

    Raises: LoriError, if one is NaN, because the answer would be arbitrary.
    """
    if bool(scores.isnan().any()):
        raise LoriError(
            f"task '{task.name}': the model's logits contain NaN; lower train.lr, or use another model.dtype"
        )


def render_nonempty(template: str, row: Any, field: str, where: str) -> str:
    """Render a template with a row.

    Raises: DataError, if rendering fails or the text is empty.
    """
    text = render(template, row, field, where)
    if not text.strip():
        raise DataError(f"{where}: the {field} is empty")
    return text
