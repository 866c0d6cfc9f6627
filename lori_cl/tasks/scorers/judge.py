"""`metric: judge`: a language model on a server grades each answer.

The replies are cached in the workspace by the SHA-256 of the request, so that no answer is paid for twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lori_cl.errors import DataError
from lori_cl.tasks.examples import Example
from lori_cl.tasks.prompts import columns_read, render
from lori_cl.tasks.scorers.base import Grade, JudgeUsage, Outcomes, Samples, Scorer, mean_grade
from lori_cl.tasks.scorers.judge_client import Graded, JudgeClient
from lori_cl.tasks.scorers.judge_reply import instruction

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN_NAMES = frozenset({"completion", "target", "targets", "prompt_text"})
"""What a judge's prompt can read in addition to the columns of the row."""
LEAST_GRADE = 0.5
"""A reference answer with a lower grade causes a warning."""


@dataclass(frozen=True)
class Judge(Scorer):
    """The mean of the grades that the judge gives."""

    cache: Path | None = None
    """A folder for the replies; None stores nothing."""

    def caching_in(self, folder: Path | None) -> Judge:
        """Return the scorer with its replies cached in this folder."""
        return replace(self, cache=folder)

    def trust_reason(self, task: Any) -> str:
        """Return which server gets the answers, and which API key."""
        key = f" with the API key in {task.judge.api_key_env}" if task.judge.api_key_env else ""
        return f"scored by the judge at {task.judge.url}, which gets every answer{key}"

    def row_columns(self, task: Any) -> set[str]:
        """Return the columns that the judge's prompt reads."""
        return columns_read(task.judge.prompt) - OWN_NAMES

    def grade(self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]) -> Grade:
        """Grade each example by the mean over its samples. Equal requests are sent once.

        Raises: ScoringFailed: the server cannot be reached, or gives no grade.
        """
        texts = [
            [judge_prompt(task, example, answer) for answer in samples]
            for samples, example in zip(answers, examples, strict=True)
        ]
        graded = self._ask(task, list(dict.fromkeys(text for row in texts for text in row)))
        outcomes = np.array([np.mean([graded[text].grade for text in row]) for row in texts])
        return replace(mean_grade(outcomes, examples), usage=_usage(task, list(graded.values())))

    def attainable(
        self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]
    ) -> tuple[Outcomes, float]:
        """Assume full marks, since the judge is only asked during a run; but render every prompt.

        Raises: DataError: the prompt is not a template, or reads a missing column.
        """
        for (answer, *_), example in zip(answers, examples, strict=True):
            judge_prompt(task, example, answer)
        return np.ones(len(examples)), 1.0

    def check_before_run(self, task: Any, examples: Sequence[Example]) -> list[str]:
        """Let the judge grade one reference answer, to see that the server, model and key work."""
        text = judge_prompt(task, examples[0], examples[0].target)
        grade = self._ask(task, [text])[text].grade
        if grade >= LEAST_GRADE:
            return []
        of_row = f"the reference answer of row {examples[0].id + 1}"
        return [f"task '{task.name}': the judge gives {of_row} only {100 * grade:.0f} %"]

    def _ask(self, task: Any, texts: Sequence[str]) -> dict[str, Graded]:
        """Return the grade of each text."""
        with self._client(task) as client, ThreadPoolExecutor(task.judge.parallel) as pool:
            futures = [pool.submit(client.ask, text) for text in texts]
            try:
                for failed in wait(futures, return_when=FIRST_EXCEPTION).done:
                    failed.result()
                return {text: future.result() for text, future in zip(texts, futures, strict=True)}
            except BaseException:
                client.stop()
                pool.shutdown(cancel_futures=True)
                raise

    @contextmanager
    def _client(self, task: Any) -> Iterator[JudgeClient]:
        import httpx2

        with httpx2.Client(timeout=task.judge.timeout_s) as http:
            yield JudgeClient(task.judge, http, self.cache)


def judge_prompt(task: Any, example: Example, answer: str) -> str:
    """Return the text that the judge reads for an answer.

    Raises: DataError: the prompt is not a template, or reads a missing column.
    """
    own = {
        "completion": answer,
        "target": example.target,
        "targets": list(example.golds),
        "prompt_text": example.text,
    }
    row = {**example.row_values(), **own}
    text = render(task.judge.prompt, row, "judge.prompt", f"task '{task.name}', row {example.id + 1}")
    if not text.strip():
        raise DataError(f"task '{task.name}', row {example.id + 1}: judge.prompt gives no text")
    return text + instruction(task.judge)


def _usage(task: Any, graded: Sequence[Graded]) -> JudgeUsage:
    prices = task.judge.price_per_million
    prompt = sum(each.prompt_tokens for each in graded)
    completion = sum(each.completion_tokens for each in graded)
    cost = None if prices is None else (prices.input * prompt + prices.output * completion) / 1e6
    cached = sum(each.cached for each in graded)
    return JudgeUsage(len(graded) - cached, cached, prompt, completion, cost)


JUDGE = Judge()
