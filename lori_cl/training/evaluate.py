"""Scoring one task in one state of the model."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lori_cl import digest
from lori_cl.adapters import tensors_digest
from lori_cl.errors import LoriError
from lori_cl.tasks import SCORERS, Example, Grade, kind_of, right_padded
from lori_cl.training.environment import compute
from lori_cl.training.observer import Observer


@dataclass(frozen=True)
class Question:
    """A task and everything but the model that its score depends on."""

    label: str
    """The task's label."""
    spec: Any
    """Its TaskSpec."""
    examples: Sequence[Example]
    """Its frozen eval set, cut to the curriculum's limit."""
    eval_set: str
    """The eval set's digest, before the cut."""
    batch_size: int
    max_length: int

    def prompts(self, tokenizer: Any, examples: Sequence[Example]) -> list[list[int]]:
        """The tokens that are read of each example before it is answered."""
        kind = kind_of(self.spec)
        return [kind.prompt_tokens(self.spec, tokenizer, e, self.max_length) for e in examples]

    def prompt_batch(self, tokenizer: Any, examples: Sequence[Example], device: Any) -> dict[str, Tensor]:
        """The same as what a base model's forward takes by name, each (examples, tokens)."""
        prompts = self.prompts(tokenizer, examples)
        ids, mask = right_padded(prompts, tokenizer.pad_token_id, device)
        return {"input_ids": ids, "attention_mask": mask}

    def truncated(self, tokenizer: Any, examples: Sequence[Example]) -> int:
        """How many of the examples are too long to be read whole."""
        return kind_of(self.spec).truncated(self.spec, tokenizer, examples, self.max_length)

    def input_digest(self, base: str, acting: str, head: nn.Module | None, encoding: str) -> str:
        """SHA-256 of everything the score depends on, the state of the model included; `encoding` is the
        digest of the token ids that the model reads."""
        rules = SCORERS[self.spec.metric].rules
        return digest.of_json(
            {
                # Left out where the rules never changed, so that digests stay what they were.
                **({"rules": rules} if rules > 1 else {}),
                "base": base,
                "adapter": acting,
                "head": tensors_digest(head.state_dict().items()) if head else None,
                "spec": self.spec.to_record(),
                "eval_set": self.eval_set,
                "encoding": encoding,
                "examples": len(self.examples),
                "batch_size": self.batch_size,
                "max_length": self.max_length,
                "compute": compute(),
            }
        )


@dataclass(frozen=True)
class Measured:
    """What asking every example gave."""

    answers: Sequence[Sequence[str]]
    """Of every example, in the eval set's order, as many as the task asks for."""
    grade: Grade
    n_truncated: int
    """Examples that were too long to be read whole."""
    elapsed_s: float
    sent_to: Sequence[str] | None = None
    """Of every example, the task that it was taken for, where that was guessed."""


def measure(
    question: Question, learner: nn.Module, tokenizer: Any, observer: Observer, title: str
) -> Measured:
    """Ask every example of the eval set.

    Raises: LoriError, if the metric gives no number.
    """
    began = time.perf_counter()
    answers = ask(question, learner, tokenizer, observer, title)
    return graded(question, answers, tokenizer, began, title)


def graded(
    question: Question, answers: Sequence[Sequence[str]], tokenizer: Any, began: float, title: str
) -> Measured:
    """What answers that were begun to be asked for at `began` (of time.perf_counter) are worth.

    Raises: LoriError, if the metric gives no number.
    """
    grade = SCORERS[question.spec.metric].grade(question.spec, answers, question.examples)
    _require_numbers(grade, question, title)
    return Measured(
        answers=answers,
        grade=grade,
        n_truncated=question.truncated(tokenizer, question.examples),
        elapsed_s=time.perf_counter() - began,
    )


def _require_numbers(grade: Grade, question: Question, title: str) -> None:
    """Make sure that there is a score: what could not be scored is an error, and never a 0."""
    found = {"score": grade.score, "standard error": grade.stderr or 0.0, **grade.parts}
    odd = [name for name, value in found.items() if not math.isfinite(value)]
    if len(grade.outcomes) != len(question.examples) or not np.isfinite(grade.outcomes).all():
        odd.append("outcome of every example")
    if odd or not question.examples:
        over = f"over {len(question.examples):,} examples"
        raise LoriError(f"{title}: {question.spec.metric} gave no {odd[0] if odd else 'score'} {over}")


@torch.inference_mode()
def ask(
    question: Question, learner: nn.Module, tokenizer: Any, observer: Observer, title: str
) -> list[list[str]]:
    """The answers to every example.

    Batches hold examples of like length and depend on nothing but the examples.
    """
    learner.eval()
    kind = kind_of(question.spec)
    samples = range(kind.samples(question.spec))
    order = sorted(range(len(question.examples)), key=lambda i: (len(question.examples[i].text), i))
    answers: list[list[str]] = [[] for _ in order]
    with observer.bar(title, len(order)) as advance:
        for start in range(0, len(order), question.batch_size):
            chosen = order[start : start + question.batch_size]
            batch = [question.examples[i] for i in chosen]
            for sample in samples:
                written = kind.answers(question.spec, learner, tokenizer, batch, question.max_length, sample)
                for i, answer in zip(chosen, written, strict=True):
                    answers[i].append(answer)
            advance(len(chosen))
    return answers
