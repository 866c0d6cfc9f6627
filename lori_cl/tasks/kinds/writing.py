"""What the kinds share in which a causal language model writes an answer after a prompt."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from lori_cl.errors import DataError
from lori_cl.spec import WritingSpec
from lori_cl.spec.complaints import shown
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.base import Features, Given
from lori_cl.tasks.kinds.causal import CausalKind, filled, require_numbers, taught
from lori_cl.tasks.kinds.decoding import answer_tokens, end_token_ids, greedy_config
from lori_cl.tasks.kinds.padding import left_padded
from lori_cl.tasks.kinds.prompt_tokens import cut_prompt_ids, word_ids
from lori_cl.tasks.kinds.sampling import SeededSampling
from lori_cl.tasks.prompts import columns_read
from lori_cl.tasks.rows import Row, Rows


class Writing(CausalKind):
    """Prompts with a written answer each; decoded greedily, or sampled."""

    def examples(self, task: Any, rows: Rows) -> list[Example]:
        """Render the prompt and the answers of every row."""

        def example_of(index: int, row: Row, where: str) -> Example:
            answers = self.answers_of(task, row, where)
            return Example(
                id=index,
                text=filled(task.prompt, row, "prompt", where),
                target=answers[0],
                check=self.check(task, row, where),
                answers=tuple(answers) if len(answers) > 1 else (),
            )

        return rows.valid(example_of)

    def lessons(self, task: Any, rows: Rows) -> list[Example]:
        """Render the prompt and the answer as the training rows want them; of several answers, the first."""
        prompt = task.train.prompt or task.prompt

        def example_of(index: int, row: Row, where: str) -> Example:
            if task.train.answer:
                answer = filled(task.train.answer, row, "answer", where)
            else:
                answer = self.answers_of(task, row, where)[0]
            return Example(index, filled(prompt, row, "prompt", where), answer)

        return rows.valid(example_of)

    def columns(self, task: Any, *, training: bool = False) -> set[str]:
        """Those of the prompt and the answers, and of what answers are checked with."""
        if training:
            answer = columns_read(task.train.answer) if task.train.answer else self.answer_columns(task)
            return columns_read(task.train.prompt or task.prompt) | answer
        return columns_read(task.prompt, *self.check_templates(task)) | self.answer_columns(task)

    def answers_of(self, task: Any, row: Row, where: str) -> Sequence[str]:
        """The right answers of a row, at least one; the first is what is learned.

        Raises: DataError, if there is none, or one is empty.
        """
        return [filled(task.answer, row, "answer", where)]

    def answer_columns(self, task: Any) -> set[str]:
        """The columns that `answers_of` reads."""
        return columns_read(task.answer)

    def check_templates(self, task: Any) -> Sequence[str]:
        """The templates that `check` fills."""
        return ()

    @abstractmethod
    def check(self, task: Any, row: Row, where: str) -> str:
        """What an answer is held against where that is not the target; empty where it is.

        Raises: DataError, if the row does not give it.
        """

    def features(self, task: WritingSpec, tokenizer: Any, example: Example, max_length: int) -> Features:
        """The answer with its end token, after the prompt."""
        answer = tokenizer(example.target, add_special_tokens=False)["input_ids"]
        return taught(task, tokenizer, example, [*answer, tokenizer.eos_token_id], max_length)

    def prompt_length(self, task: WritingSpec, max_length: int, context: int) -> int:
        """So many that the answer still fits behind the prompt."""
        if task.max_new_tokens >= context:
            raise DataError(
                f"task '{task.name}': max_new_tokens is {task.max_new_tokens} and the model reads "
                f"{context} tokens; lower it below {context}"
            )
        return min(max_length, context - task.max_new_tokens)

    def decoding(self, task: WritingSpec) -> Hashable | None:
        """Tasks that decode alike; noise belongs to its task."""
        return None if task.temperature else (type(self), task.chat, task.max_new_tokens, task.stop)

    def samples(self, task: WritingSpec) -> int:
        """As many as the task asks for."""
        return task.samples

    def prompt_tokens(
        self, task: WritingSpec, tokenizer: Any, example: Example, max_length: int
    ) -> list[int]:
        """The prompt, cut from the left where it is too long; see `cut_prompt_ids`."""
        return cut_prompt_ids(task, tokenizer, example, max_length)

    def answers(
        self,
        task: WritingSpec,
        learner: Any,
        tokenizer: Any,
        examples: Sequence[Example],
        max_length: int,
        sample: int = 0,
    ) -> list[str]:
        """What is written, up to one of the model's end tokens, a stop or `max_new_tokens`."""
        prompts = [self.prompt_tokens(task, tokenizer, e, max_length) for e in examples]
        ids, mask = left_padded(prompts, tokenizer.pad_token_id, learner.device)
        seeds = [_seed(task, e, sample) for e in examples]
        ends = end_token_ids(learner, tokenizer)
        written = learner.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=greedy_config(task.max_new_tokens, ends, tokenizer.pad_token_id),
            logits_processor=[
                _Numbers(task),
                *([SeededSampling(task.temperature, seeds)] if task.temperature else []),
            ],
            stopping_criteria=[_Stopped(task.stop, tokenizer, ids.shape[1], ends)] if task.stop else [],
        )
        texts = _texts(tokenizer, written[:, ids.shape[1] :], ends)
        return [self.tidied(_until(text, task.stop)) for text in texts]

    def given(self, task: WritingSpec, tokenizer: Any, example: Example) -> Given:
        """The wanted answer, encoded, cut and decoded as what is written."""
        text, problem = example.target, None
        if tokenizer is not None:
            ids = word_ids(tokenizer, example.target)
            problem = _lost_tokens(task, tokenizer, example.target, ids)
            text = tokenizer.decode(ids[: task.max_new_tokens], skip_special_tokens=True)
        kept = _until(text, task.stop)
        if problem is None and kept != text:
            stop = min((s for s in task.stop if s in text), key=text.find)
            problem = f"{shown(example.target)} contains the stop text {shown(stop)}, which ends an answer"
        answer = self.tidied(kept)
        if problem is None and answer != self.tidied(example.target):
            problem = f"{shown(example.target)} is {shown(answer)} after encoding and decoding"
        return Given(answer, problem or self.unwanted(task, example, answer))

    def unwanted(self, task: Any, example: Example, answer: str) -> str | None:
        """Why an answer that reads as wanted is not what the metric wants; None where it may be."""
        return None

    def tidied(self, text: str) -> str:
        """A written text without what stands around the answer."""
        return text.strip()


def _lost_tokens(task: WritingSpec, tokenizer: Any, target: str, ids: Sequence[int]) -> str | None:
    """What of a wanted answer is not written: unknown or special tokens, or what exceeds max_new_tokens."""
    known = {"unknown": {tokenizer.unk_token_id}, "special": {*tokenizer.all_special_ids}}
    for sort, odd in known.items():
        found = [i for i in ids if i in odd]
        if found:
            token = tokenizer.convert_ids_to_tokens(found[0])
            return (
                f"{shown(target)} holds the {sort} token {shown(token)} in this model's tokenizer, "
                "which is removed when an answer is decoded"
            )
    if len(ids) > task.max_new_tokens:
        needs = len(ids) + 1
        return (
            f"{shown(target)} needs {needs} tokens with its end token, and max_new_tokens is "
            f"{task.max_new_tokens}; raise it to {needs} or more"
        )
    return None


def _seed(task: WritingSpec, example: Example, sample: int) -> int:
    """Of one sample of one example, whatever else is in its batch."""
    parts = (task.name, task.seed, example.id, sample)
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little")


class _Numbers(LogitsProcessor):  # type: ignore[misc]  # transformers ships no types
    """Passes on logits that are numbers; of others the first token would be taken, and decoded to nothing."""

    def __init__(self, task: WritingSpec) -> None:
        self._task = task

    def __call__(self, input_ids: Int64[Tensor, "B T"], scores: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        """One token of every row."""
        require_numbers(self._task, scores)
        return scores


class _Stopped(StoppingCriteria):  # type: ignore[misc]  # transformers ships no types
    """An answer ends when its text holds a stop; transformers' own takes only some tokenizers."""

    def __init__(self, stop: Sequence[str], tokenizer: Any, begins: int, ends: Sequence[int]) -> None:
        self._stop = stop
        self._tokenizer = tokenizer
        self._begins = begins
        self._ends = ends

    def __call__(self, input_ids: Int64[Tensor, "B T"], *_: Any, **__: Any) -> Bool[Tensor, "B"]:
        """Which rows are done."""
        texts = _texts(self._tokenizer, input_ids[:, self._begins :], self._ends)
        done = [any(stop in text for stop in self._stop) for text in texts]
        return torch.tensor(done, device=input_ids.device)


def _texts(tokenizer: Any, written: Int64[Tensor, "B T"], ends: Sequence[int]) -> list[str]:
    """Each row's text before its first end token."""
    rows = [answer_tokens(row, ends) for row in written.tolist()]
    texts: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return texts


def _until(text: str, stop: Sequence[str]) -> str:
    """The text before whichever stop comes first; a token may reach beyond it."""
    return text[: min((at for s in stop if (at := text.find(s)) >= 0), default=len(text))]
