"""`generation`: a causal language model writes an answer after a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lori_cl.errors import DataError
from lori_cl.spec import GenerationSpec
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.base import Batch, Features, Kind
from lori_cl.tasks.prompts import render
from lori_cl.tasks.sources import Rows

IGNORED = -100
"""The label that transformers leaves out of the loss."""


class Generation(Kind):
    """Prompts with one wanted answer each; decoded greedily."""

    architecture = "causal-lm"

    def examples(self, task: GenerationSpec, rows: Rows) -> list[Example]:
        """Render the prompt and the answer of every row."""
        return [
            Example(
                index,
                _filled(task.prompt, row, "prompt", rows.where(index)),
                _filled(task.answer, row, "answer", rows.where(index)),
            )
            for index, row in rows
        ]

    def features(self, task: GenerationSpec, tokenizer: Any, example: Example, max_length: int) -> Features:
        """Prompt and answer, loss on the answer only; the prompt is cut from the left, the answer never."""
        prompt = tokenizer(example.text)["input_ids"]
        answer = tokenizer(example.target, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        room = max_length - len(answer)
        if room < 1:
            raise DataError(
                f"row {example.id + 1}: the answer has {len(answer)} tokens and train.max_length is "
                f"{max_length}; raise it above {len(answer)}"
            )
        kept = prompt[-room:]
        return Features(
            {"input_ids": kept + answer, "labels": [IGNORED] * len(kept) + answer},
            truncated=len(kept) < len(prompt),
        )

    def collate(self, tokenizer: Any, fields: Sequence[dict[str, Any]]) -> Batch:
        """Pad on the right, as training wants it."""
        longest = max(len(f["input_ids"]) for f in fields)

        def padded(key: str, filler: int) -> torch.Tensor:
            return torch.tensor([f[key] + [filler] * (longest - len(f[key])) for f in fields])

        mask = [[1] * len(f["input_ids"]) + [0] * (longest - len(f["input_ids"])) for f in fields]
        return {
            "input_ids": padded("input_ids", tokenizer.pad_token_id),
            "attention_mask": torch.tensor(mask),
            "labels": padded("labels", IGNORED),
        }

    def learner(self, model: nn.Module, head: nn.Module | None) -> nn.Module:
        """The language model itself."""
        return model

    def prompt_length(self, task: GenerationSpec, max_length: int, context: int) -> int:
        """So many that the answer still fits behind the prompt."""
        if task.max_new_tokens >= context:
            raise DataError(
                f"task '{task.name}': max_new_tokens is {task.max_new_tokens} and the model reads "
                f"{context} tokens; lower it below {context}"
            )
        return min(max_length, context - task.max_new_tokens)

    def answers(
        self,
        task: GenerationSpec,
        learner: Any,
        tokenizer: Any,
        examples: Sequence[Example],
        max_length: int,
    ) -> list[str]:
        """The greedy continuation, up to the end token or `max_new_tokens`."""
        prompts = [tokenizer(e.text)["input_ids"][-max_length:] for e in examples]
        longest = max(len(prompt) for prompt in prompts)
        # Left padding, so that every answer begins right after its prompt.
        ids = [[tokenizer.pad_token_id] * (longest - len(p)) + p for p in prompts]
        mask = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
        written = learner.generate(
            input_ids=torch.tensor(ids, device=learner.device),
            attention_mask=torch.tensor(mask, device=learner.device),
            max_new_tokens=task.max_new_tokens,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        return [
            text.strip() for text in tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)
        ]


def _filled(template: str, row: Any, field: str, where: str) -> str:
    text = render(template, row, field, where)
    if not text.strip():
        raise DataError(f"{where}: the {field} is empty")
    return text
