"""`multiple_choice`: a causal language model picks the choice that it finds likeliest after a prompt.

name: piqa
kind: multiple_choice
source: {local: piqa}
prompt: "Question: {{ goal }}\nAnswer:"
choices: [" {{ sol1 }}", " {{ sol2 }}"]   # or the name of a column that holds a list
answer: "{{ label }}"
answer_is: position                       # from 0; or number (from 1), letter, text
normalise: tokens                         # none, tokens or bytes
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lori_cl.errors import DataError
from lori_cl.spec import MultipleChoiceSpec
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.base import Features
from lori_cl.tasks.kinds.causal import CausalKind, filled, left_padded, room_for_prompt, taught
from lori_cl.tasks.sources import Rows, require_column


class MultipleChoice(CausalKind):
    """Prompts with a few choices each, one of them right."""

    def examples(self, task: MultipleChoiceSpec, rows: Rows) -> list[Example]:
        """Render the prompt and the choices of every row."""
        if isinstance(task.choices, str):
            require_column(rows, task.choices, "choices")
        examples = [_example(task, index, row, rows.where(index)) for index, row in rows]
        for example in examples:
            if len(example.choices) != len(examples[0].choices) and not task.allow_unequal:
                raise DataError(
                    f"{rows.where(example.id)}: {len(example.choices)} choices, and the first row has "
                    f"{len(examples[0].choices)}; say allow_unequal: true if that is right"
                )
        return examples

    def features(
        self, task: MultipleChoiceSpec, tokenizer: Any, example: Example, max_length: int
    ) -> Features:
        """The right choice after the prompt."""
        return taught(tokenizer, example, _tokens(tokenizer, example.target), max_length)

    def truncated(self, task: Any, tokenizer: Any, examples: Sequence[Example], max_length: int) -> int:
        """How many do not fit together with their longest choice."""
        return sum(
            len(tokenizer(e.text)["input_ids"]) + max(len(_tokens(tokenizer, c)) for c in e.choices)
            > max_length
            for e in examples
        )

    def answers(
        self,
        task: MultipleChoiceSpec,
        learner: Any,
        tokenizer: Any,
        examples: Sequence[Example],
        max_length: int,
    ) -> list[str]:
        """The likeliest choice of every example; ties go to the choice named first."""
        choices = [[_tokens(tokenizer, choice) for choice in e.choices] for e in examples]
        prompts = [
            tokenizer(e.text)["input_ids"][-room_for_prompt(e, max(map(len, of)), max_length) :]
            for e, of in zip(examples, choices, strict=True)
        ]
        found = log_likelihoods(learner, tokenizer.pad_token_id, prompts, choices)
        lengths = [
            [_length(task, text, ids) for text, ids in zip(e.choices, of, strict=True)]
            for e, of in zip(examples, choices, strict=True)
        ]
        return [
            e.choices[int((scores / torch.tensor(of)).argmax())]
            for e, scores, of in zip(examples, found, lengths, strict=True)
        ]


def log_likelihoods(
    learner: Any, pad: int, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]
) -> list[Float[Tensor, "choices"]]:
    """log p(choice | prompt) in nats, of every choice of every prompt, in float32 on the CPU.

    Every prompt is read once; its keys and values are then shared by its choices, which are read together.
    """
    ids, mask = left_padded(prompts, pad, learner.device)  # (B, P)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)  # (B, P)
    read = learner(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True)
    owner = torch.tensor([i for i, of in enumerate(choices) for _ in of], device=learner.device)  # (C,)
    flat = [choice for of in choices for choice in of]
    longest = max(map(len, flat))
    tokens = torch.tensor([[*c, *[pad] * (longest - len(c))] for c in flat], device=learner.device)  # (C, L)
    counts = torch.tensor([[1] * len(c) + [0] * (longest - len(c)) for c in flat], device=learner.device)
    logits = read.logits[owner, -1:]  # (C, 1, V)
    if longest > 1:
        cache = read.past_key_values
        cache.batch_select_indices(owner)
        after = positions[owner, -1:] + 1 + torch.arange(longest - 1, device=learner.device)  # (C, L−1)
        more = learner(
            input_ids=tokens[:, :-1],
            attention_mask=torch.cat([mask[owner], counts[:, :-1]], dim=1),
            position_ids=after,
            past_key_values=cache,
            use_cache=True,
        )
        logits = torch.cat([logits, more.logits], dim=1)  # (C, L, V)
    each = functional.log_softmax(logits.float(), dim=-1).gather(2, tokens.unsqueeze(2)).squeeze(2)  # (C, L)
    whole = (each * counts).sum(dim=1).cpu()  # (C,)
    return list(torch.tensor_split(whole, [sum(map(len, choices[:i])) for i in range(1, len(choices))]))


def _length(task: MultipleChoiceSpec, text: str, ids: Sequence[int]) -> int:
    """What a choice's log-likelihood is divided by."""
    return {"none": 1, "tokens": len(ids), "bytes": len(text.encode())}[task.normalise]


def _tokens(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _example(task: MultipleChoiceSpec, index: int, row: Any, where: str) -> Example:
    choices = _choices(task, row, where)
    answer = filled(task.answer, row, "answer", where).strip()
    position = _position(task, choices, answer)
    if position is None or not 0 <= position < len(choices):
        raise DataError(
            f"{where}: the answer '{answer[:60]}' is none of the {len(choices)} choices, read as "
            f"answer_is: {task.answer_is}"
        )
    return Example(index, filled(task.prompt, row, "prompt", where), choices[position], choices)


def _choices(task: MultipleChoiceSpec, row: Any, where: str) -> tuple[str, ...]:
    if isinstance(task.choices, str):
        listed = row[task.choices]
        if not isinstance(listed, list | tuple) or not all(isinstance(c, str) and c.strip() for c in listed):
            raise DataError(f"{where}: column '{task.choices}' holds no list of texts")
        choices = tuple(listed)
    else:
        choices = tuple(filled(choice, row, "choices", where) for choice in task.choices)
    if len(choices) < 2 or len(set(choices)) < len(choices):
        raise DataError(f"{where}: {len(choices)} choices; there must be at least 2, all different")
    return choices


def _position(task: MultipleChoiceSpec, choices: Sequence[str], answer: str) -> int | None:
    """Where the right choice stands, from 0; None where the answer says no place."""
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
