"""What a scorer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from lori_cl.forgetting.distinct import Groups, grouped_standard_error, groups_of, rows_of
from lori_cl.spec.complaints import shown
from lori_cl.tasks.examples import Example

RESAMPLES = 200

Samples = Sequence[str]
"""What was answered to one example: one text, or as many as the task asks for."""

Outcomes = Float[np.ndarray, "n"]
Labels = Int64[np.ndarray, "n"]


@dataclass(frozen=True)
class Grade:
    """What a scorer says of the answers to an eval set."""

    outcomes: Outcomes
    """How right each example's answers are, in [0, 1]."""
    score: float
    """A fraction; higher is better."""
    stderr: float | None
    """Standard error of the score; None over a single example."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Further numbers of the same answers, as fractions, by name."""


class Scorer(ABC):
    """A metric; it holds no state."""

    runs_code = False
    """Whether grading runs what the model wrote."""
    resamples = False
    """Whether the score's error is taken over resamples, which another NumPy may draw otherwise."""

    @property
    def rules(self) -> int:
        """Which version of the metric's rules this is; scores by other rules are not cached scores of it."""
        return 1 + len(self.earlier_versions())

    def earlier_versions(self) -> Sequence[Scorer]:
        """The metric before each change of its rules, newest first."""
        return []

    def doubtful(self, examples: Sequence[Example]) -> str | None:
        """A warning about examples that can be scored, and perhaps not as their author means; or None."""
        return None

    @abstractmethod
    def grade(self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]) -> Grade:
        """Grade the answers, one entry an example."""

    def attainable(
        self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]
    ) -> tuple[Outcomes, float]:
        """(outcomes, score) where these are the best answers that there are; nothing is run for it."""
        grade = self.grade(task, answers, examples)
        return grade.outcomes, grade.score

    def unscorable(self, task: Any, examples: Sequence[Example]) -> str | None:
        """Why no answers to these examples have a score that says anything; None where they do."""
        return None if examples else "there are no examples"


def mean_outcomes(
    answers: Sequence[Samples], examples: Sequence[Example], outcome: Callable[[str, Example], float]
) -> Outcomes:
    """Of every example, the mean of what its samples are worth."""
    return np.array(
        [
            np.mean([outcome(answer, example) for answer in samples])
            for samples, example in zip(answers, examples, strict=True)
        ],
        dtype=np.float64,
    )


def mean_grade(
    outcomes: Outcomes, examples: Sequence[Example], parts: Mapping[str, float] | None = None
) -> Grade:
    """The mean of the outcomes, with its standard error over distinct inputs."""
    groups = input_groups(examples)
    stderr = plain_error(outcomes) if groups is None else grouped_standard_error(outcomes, groups)
    return Grade(outcomes, float(outcomes.mean()), stderr, parts or {})


def plain_error(outcomes: Outcomes) -> float | None:
    """std (ddof = 1) / √n, the standard error of a mean over outcomes of different inputs."""
    return float(outcomes.std(ddof=1) / np.sqrt(len(outcomes))) if len(outcomes) > 1 else None


def input_groups(examples: Sequence[Example]) -> Groups | None:
    """The groups of examples with the same text and choices; None where all differ.

    An example without a text, which no task reads, is like no other.
    """
    return groups_of([(e.text, *e.choices) if e.text else i for i, e in enumerate(examples)])


def resampled_error(
    examples: Sequence[Example], score: Callable[[Int64[np.ndarray, "n"]], float]
) -> float | None:
    """The spread (ddof = 1) of a score over 200 seeded bootstrap resamples of distinct inputs."""
    groups = input_groups(examples)
    rows = None if groups is None else rows_of(groups)
    n = len(examples) if rows is None else len(rows)
    if n < 2:
        return None
    draws = np.random.default_rng(0).integers(0, n, (RESAMPLES, n))
    drawn_rows = draws if rows is None else [np.concatenate([rows[i] for i in drawn]) for drawn in draws]
    return float(np.std([score(drawn) for drawn in drawn_rows], ddof=1))


@dataclass(frozen=True)
class MeanOutcome(Scorer):
    """The mean of what each answer is worth on its own."""

    outcome: Callable[[str, str], float]
    """(answer, target) → how right one answer is, in [0, 1]; 0 for a blank one."""
    earlier: tuple[Callable[[str, str], float], ...] = field(default=(), kw_only=True)
    """`outcome` before each change of the metric's rules, oldest first."""

    def earlier_versions(self) -> Sequence[Scorer]:
        """The metric before each change of its rules, newest first."""
        return [replace(self, outcome=outcome, earlier=()) for outcome in reversed(self.earlier)]

    def grade(self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]) -> Grade:
        """An example's outcome is the mean over its samples."""
        return mean_grade(self.outcomes(answers, examples), examples)

    def unscorable(self, task: Any, examples: Sequence[Example]) -> str | None:
        """Also where not even the wanted answer is worth anything, so that every model scores 0."""
        worth = self.outcomes([[example.target] for example in examples], examples)
        lost = next((e for e, value in zip(examples, worth, strict=True) if not value > 0), None)
        if lost is not None:
            return f"the answer wanted in row {lost.id + 1}, {shown(lost.target)}, is itself worth 0"
        return super().unscorable(task, examples)

    def attainable(
        self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]
    ) -> tuple[Outcomes, float]:
        """The mean of the outcomes, also where the score is another aggregate, which takes longer."""
        outcomes = self.outcomes(answers, examples)
        return outcomes, float(outcomes.mean())

    def outcomes(self, answers: Sequence[Samples], examples: Sequence[Example]) -> Outcomes:
        """How right each example's answers are."""
        return mean_outcomes(answers, examples, self._best)

    def _best(self, answer: str, example: Example) -> float:
        """What an answer is worth against the right answer that it matches best."""
        return max(self.outcome(answer, gold) for gold in example.golds)


FOREIGN = 0
"""The number of every answer that is none of a task's labels."""


@dataclass(frozen=True)
class OverAll(MeanOutcome):
    """A score of all answers together, one label of the task an example, or another task's."""

    aggregate: Callable[[Labels, Labels], float]
    """(answers, targets) → the score; labels as numbers, and FOREIGN for an answer that is none."""
    least_labels: int = 1
    """Different labels among the targets without which there is no score."""

    def unscorable(self, task: Any, examples: Sequence[Example]) -> str | None:
        """Also where the targets are too much alike."""
        labels = {example.target for example in examples}
        if examples and len(labels) < self.least_labels:
            return f"all {len(examples):,} examples have the label {shown(labels.pop())}"
        return super().unscorable(task, examples)

    resamples = True

    def grade(self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]) -> Grade:
        """Its error is the spread over bootstrap resamples."""
        # Numbers for names: the metrics compare them much faster.
        number = {label: i for i, label in enumerate(sorted(task.labels), start=FOREIGN + 1)}
        numbers = np.array(
            [
                [number.get(answer, FOREIGN) for (answer,) in answers],
                [number[example.target] for example in examples],
            ]
        )
        return Grade(
            outcomes=self.outcomes(answers, examples),
            score=self.aggregate(*numbers),
            stderr=resampled_error(examples, lambda drawn: self.aggregate(*numbers[:, drawn])),
        )
