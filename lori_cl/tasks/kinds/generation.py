"""`generation`: a causal language model writes an answer after a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
        )
        texts = tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in texts]
