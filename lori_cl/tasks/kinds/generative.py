"""Base class of the kinds in which a language model generates an answer to a prompt."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from lori_cl.errors import DataError
from lori_cl.model_traits import input_device
from lori_cl.spec import GenerativeSpec
from lori_cl.spec.error_messages import shown
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.base import Features, ReferenceAnswer
from lori_cl.tasks.kinds.causal import CausalKind, answer_features, render_nonempty, require_numbers
from lori_cl.tasks.kinds.decoding import (
    answer_tokens,
    end_token_ids,
    generation_inputs,
    greedy_config,
    read_prompts,
)
from lori_cl.tasks.kinds.prompt_tokens import cut_prompt_ids
from lori_cl.tasks.kinds.sampling import SeededSampling
from lori_cl.tasks.kinds.special_tokens import word_ids
from lori_cl.tasks.prompts import columns_read
from lori_cl.tasks.rows import Row, Rows


class Generative(CausalKind):
    """Prompts with a generated answer each; greedy decoding or sampling."""

    group_by_length = True

    def examples(self, task: Any, rows: Rows) -> list[Example]:
        """Render the prompt and the answers of every row."""

        def example_of(index: int, row: Row, where: str) -> Example:
            answers = self.answers_of(task, row, where)
            return Example(
                id=index,
                text=render_nonempty(task.prompt, row, "prompt", where),
                target=answers[0],
                check=self.check(task, row, where),
                answers=tuple(answers) if len(answers) > 1 else (),
                grades=tuple(self.grades_of(task, row, where)),
            )

        return rows.valid(example_of)

    def training_examples(self, task: Any, rows: Rows) -> list[Example]:
        """Render the training prompt and answer of every row; of several answers, use the first."""
        prompt = task.train.prompt or task.prompt

        def example_of(index: int, row: Row, where: str) -> Example:
            if task.train.answer:
                answer = render_nonempty(task.train.answer, row, "answer", where)
            else:
                answer = self.answers_of(task, row, where)[0]
            return Example(index, render_nonempty(prompt, row, "prompt", where), answer)

        return rows.valid(example_of)

    def columns(self, task: Any, *, training: bool = False) -> set[str]:
        """Return the columns of the prompt, the answers and the check templates."""
        if training:
            answer = columns_read(task.train.answer) if task.train.answer else self.answer_columns(task)
            return columns_read(task.train.prompt or task.prompt) | answer
        return columns_read(task.prompt, *self.check_templates(task)) | self.answer_columns(task)

    def answers_of(self, task: Any, row: Row, where: str) -> Sequence[str]:
        """Return the reference answers of a row, at least one; the first is the training target.

        Raises: DataError, if there is none, or one is empty.
        """
        return [render_nonempty(task.answer, row, "answer", where)]

    def grades_of(self, task: Any, row: Row, where: str) -> Sequence[float]:
        """Return the marks for a match of each answer of `answers_of`; empty if they are equal.

        Raises: DataError, if a grade is invalid, or that of the training target is not 1.
        """
        return ()

    def answer_columns(self, task: Any) -> set[str]:
        """Return the columns that `answers_of` reads."""
        return columns_read(task.answer)

    def check_templates(self, task: Any) -> Sequence[str]:
        """Return the templates that `check` renders."""
        return ()

    @abstractmethod
    def check(self, task: Any, row: Row, where: str) -> str:
        """Return the data that answers are checked with; empty if they are compared with the target.

        Raises: DataError, if the row has no valid data.
        """

    def features(self, task: GenerativeSpec, tokenizer: Any, example: Example, max_length: int) -> Features:
        """Tokenize the prompt, the answer and its end token."""
        answer = tokenizer(example.target, add_special_tokens=False)["input_ids"]
        return answer_features(task, tokenizer, example, [*answer, tokenizer.eos_token_id], max_length)

    def prompt_length(self, task: GenerativeSpec, max_length: int, context: int) -> int:
        """Return the maximum number of prompt tokens that leaves room for the answer."""
        if task.max_new_tokens >= context:
            raise DataError(
                f"task '{task.name}': max_new_tokens is {task.max_new_tokens}, but the model reads "
                f"{context} tokens; lower it below {context}"
            )
        return min(max_length, context - task.max_new_tokens)

    def encoder_length(self, task: GenerativeSpec, max_length: int, context: int) -> int:
        """Return `max_length`: the decoder writes the answer."""
        if task.max_new_tokens >= context:
            raise DataError(
                f"task '{task.name}': max_new_tokens is {task.max_new_tokens}, but the model's decoder reads "
                f"{context} tokens; lower it below {context}"
            )
        return max_length

    def decoding(self, task: GenerativeSpec) -> Hashable | None:
        """Return the decoding settings; None with sampling, whose noise depends on the task."""
        prompts = (task.chat, task.system, task.date)  # a batch is tokenized with one task's settings
        return None if task.temperature else (type(self), prompts, task.max_new_tokens, task.stop)

    def samples(self, task: GenerativeSpec) -> int:
        """Return the task's `samples`."""
        return task.samples

    def prompt_tokens(
        self, task: GenerativeSpec, tokenizer: Any, example: Example, max_length: int
    ) -> list[int]:
        """Tokenize the prompt, truncated on the left if it is too long; see `cut_prompt_ids`."""
        return cut_prompt_ids(task, tokenizer, example, max_length)

    def answers(
        self,
        task: GenerativeSpec,
        learner: Any,
        tokenizer: Any,
        examples: Sequence[Example],
        max_length: int,
        sample: int = 0,
    ) -> list[str]:
        """Generate answers up to an end token of the model, a stop text or `max_new_tokens`."""
        prompts = [self.prompt_tokens(task, tokenizer, e, max_length) for e in examples]
        inputs = generation_inputs(tokenizer, prompts, input_device(learner))
        return self._generate(task, learner, tokenizer, [_seed(task, e, sample) for e in examples], inputs)

    def answer_samples(
        self,
        task: GenerativeSpec,
        learner: Any,
        tokenizer: Any,
        examples: Sequence[Example],
        max_length: int,
    ) -> list[list[str]]:
        """Generate every sample of the answers to one batch; the model reads the prompts once."""
        samples = self.samples(task)
        if samples == 1:
            return super().answer_samples(task, learner, tokenizer, examples, max_length)
        prompts = [self.prompt_tokens(task, tokenizer, e, max_length) for e in examples]
        read = read_prompts(learner, generation_inputs(tokenizer, prompts, input_device(learner)), tokenizer)
        drawn = [
            self._generate(task, learner, tokenizer, [_seed(task, e, sample) for e in examples], read())
            for sample in range(samples)
        ]
        return [list(answers) for answers in zip(*drawn, strict=True)]

    def _generate(
        self,
        task: GenerativeSpec,
        learner: Any,
        tokenizer: Any,
        seeds: Sequence[int],
        inputs: Mapping[str, Any],
    ) -> list[str]:
        """Generate one answer to each prompt of `inputs`, the arguments of `generate`."""
        begin = inputs.get("decoder_input_ids", inputs["input_ids"])  # the answer continues it
        end_tokens = end_token_ids(learner, tokenizer)
        written = learner.generate(
            **inputs,
            generation_config=greedy_config(task.max_new_tokens, end_tokens, tokenizer),
            logits_processor=[
                _RequireNumbers(task),
                *([SeededSampling(task.temperature, seeds)] if task.temperature else []),
            ],
            stopping_criteria=[_StopTexts(task.stop, tokenizer, begin.shape[1], end_tokens)]
            if task.stop
            else [],
        )
        texts = decode_answers(tokenizer, written[:, begin.shape[1] :], end_tokens)
        return [self.clean_answer(before_stop(text, task.stop)) for text in texts]

    def reference_answer(self, task: GenerativeSpec, tokenizer: Any, example: Example) -> ReferenceAnswer:
        """Return the reference answer, encoded, truncated and decoded like a generated answer."""
        text, problem = example.target, None
        if tokenizer is not None:
            ids = word_ids(tokenizer, example.target)
            problem = _lost_tokens(task, tokenizer, example.target, ids)
            text = tokenizer.decode(ids[: task.max_new_tokens], skip_special_tokens=True)
        kept = before_stop(text, task.stop)
        if problem is None and kept != text:
            stop = min((s for s in task.stop if s in text), key=text.find)
            problem = f"{shown(example.target)} contains the stop text {shown(stop)}, which ends an answer"
        answer = self.clean_answer(kept)
        if problem is None and answer != self.clean_answer(example.target):
            problem = f"{shown(example.target)} is {shown(answer)} after encoding and decoding"
        return ReferenceAnswer(answer, problem or self.metric_problem(task, example, answer))

    def metric_problem(self, task: Any, example: Example, answer: str) -> str | None:
        """Return why the metric does not accept a reference answer; None if no reason is known."""
        return None

    def clean_answer(self, text: str) -> str:
        """Return a generated text without surrounding white space."""
        return text.strip()


def _lost_tokens(task: GenerativeSpec, tokenizer: Any, target: str, ids: Sequence[int]) -> str | None:
    """Return why tokens of a reference answer are lost: unknown or special tokens, or max_new_tokens."""
    known = {"unknown": {tokenizer.unk_token_id}, "special": {*tokenizer.all_special_ids}}
    for sort, lost in known.items():
        found = [i for i in ids if i in lost]
        if found:
            token = tokenizer.convert_ids_to_tokens(found[0])
            return (
                f"{shown(target)} contains the {sort} token {shown(token)} in this model's tokenizer, "
                "which is removed when an answer is decoded"
            )
    if len(ids) > task.max_new_tokens:
        needs = len(ids) + 1
        return (
            f"{shown(target)} needs {needs} tokens with its end token, but max_new_tokens is "
            f"{task.max_new_tokens}; raise it to {needs} or more"
        )
    return None


def _seed(task: GenerativeSpec, example: Example, sample: int) -> int:
    """Return the seed of one sample of one example; it does not depend on the batch."""
    parts = (task.name, task.seed, example.id, sample)
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little")


class _RequireNumbers(LogitsProcessor):  # type: ignore[misc]  # transformers ships no types
    """Raise if a logit is NaN, because decoding would select token 0 and return an empty answer."""

    def __init__(self, task: GenerativeSpec) -> None:
        self._task = task

    def __call__(self, input_ids: Int64[Tensor, "B T"], scores: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        """Check the logits of the next token of every row."""
        require_numbers(self._task, scores)
        return scores


class _StopTexts(StoppingCriteria):  # type: ignore[misc]  # transformers ships no types
    """End an answer when its text contains a stop text; transformers' class supports only some tokenizers."""

    def __init__(
        self, stop: Sequence[str], tokenizer: Any, prompt_length: int, end_tokens: Sequence[int]
    ) -> None:
        self._stop = stop
        self._tokenizer = tokenizer
        self._prompt_length = prompt_length
        self._end_tokens = end_tokens

    def __call__(self, input_ids: Int64[Tensor, "B T"], *_: Any, **__: Any) -> Bool[Tensor, "B"]:
        """Return which rows are done."""
        texts = decode_answers(self._tokenizer, input_ids[:, self._prompt_length :], self._end_tokens)
        done = [any(stop in text for stop in self._stop) for text in texts]
        return torch.tensor(done, device=input_ids.device)


def decode_answers(tokenizer: Any, written: Int64[Tensor, "B T"], end_tokens: Sequence[int]) -> list[str]:
    """Decode each row up to its first end token."""
    rows = [answer_tokens(row, end_tokens) for row in written.tolist()]
    texts: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return texts


def before_stop(text: str, stop: Sequence[str]) -> str:
    """Return the text before the first stop text; the last token may extend beyond it."""
    return text[: min((at for s in stop if (at := text.find(s)) >= 0), default=len(text))]
