"""`generation`: a causal language model writes an answer after a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from transformers import StoppingCriteria

from lori_cl.errors import DataError
from lori_cl.spec import GenerationSpec
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.base import Features
from lori_cl.tasks.kinds.causal import CausalKind, filled, left_padded, taught
from lori_cl.tasks.sources import Rows


class Generation(CausalKind):
    """Prompts with one wanted answer each; decoded greedily."""

    def examples(self, task: GenerationSpec, rows: Rows) -> list[Example]:
        """Render the prompt and the answer of every row."""
        return [
            Example(
                index,
                filled(task.prompt, row, "prompt", rows.where(index)),
                filled(task.answer, row, "answer", rows.where(index)),
            )
            for index, row in rows
        ]

    def features(self, task: GenerationSpec, tokenizer: Any, example: Example, max_length: int) -> Features:
        """The answer with its end token, after the prompt."""
        answer = tokenizer(example.target, add_special_tokens=False)["input_ids"]
        return taught(tokenizer, example, [*answer, tokenizer.eos_token_id], max_length)

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
        ids, mask = left_padded(prompts, tokenizer.pad_token_id, learner.device)
        written = learner.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=task.max_new_tokens,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            stopping_criteria=[_Stopped(task.stop, tokenizer, ids.shape[1])] if task.stop else [],
        )
        texts = tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
        return [_until(text, task.stop).strip() for text in texts]


class _Stopped(StoppingCriteria):  # type: ignore[misc]  # transformers ships no types
    """An answer ends when its text holds a stop; transformers' own takes only some tokenizers."""

    def __init__(self, stop: Sequence[str], tokenizer: Any, begins: int) -> None:
        self._stop = stop
        self._tokenizer = tokenizer
        self._begins = begins

    def __call__(self, input_ids: Int64[Tensor, "B T"], *_: Any, **__: Any) -> Bool[Tensor, "B"]:
        """Which rows are done."""
        texts = self._tokenizer.batch_decode(input_ids[:, self._begins :], skip_special_tokens=True)
        done = [any(stop in text for stop in self._stop) for text in texts]
        return torch.tensor(done, device=input_ids.device)


def _until(text: str, stop: Sequence[str]) -> str:
    """The text before whichever stop comes first; a token may reach beyond it."""
    return text[: min((at for s in stop if (at := text.find(s)) >= 0), default=len(text))]
