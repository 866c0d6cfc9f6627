"""The scorer interface, and the base classes of the built-in metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from lori_cl.forgetting.distinct import Groups, grouped_standard_error, groups_of, rows_of
from lori_cl.spec.error_messages import shown
from lori_cl.tasks.examples import Example

RESAMPLES = 200

Samples = Sequence[str]
"""The answers to one example: one text, or as many samples as the task requests."""

Outcomes = Float[np.ndarray, "n"]
Labels = Int64[np.ndarray, "n"]


@dataclass(frozen=True)
class JudgeUsage:
    """What a judge was asked, and the tokens that were paid for."""

    requests: int = 0
    """Number of answers that the server graded."""
    cached: int = 0
    """Number of answers whose grade was in the cache."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    """In the currency of the prices; None if they are not known."""

    def __add__(self, other: JudgeUsage) -> JudgeUsage:
        costs = [cost for cost in (self.cost, other.cost) if cost is not None]
        return JudgeUsage(
            self.requests + other.requests,
            self.cached + other.cached,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            sum(costs) if costs else None,
        )

    def __sub__(self, earlier: JudgeUsage) -> JudgeUsage:
        return JudgeUsage(
            self.requests - earlier.requests,
            self.cached - earlier.cached,
            self.prompt_tokens - earlier.prompt_tokens,
            self.completion_tokens - earlier.completion_tokens,
            None if self.cost is None else self.cost - (earlier.cost or 0.0),
        )

    def words(self) -> str:
        """Return '12 answers graded, 3 from the cache, 340 prompt and 20 completion tokens, cost 0.0123'."""
        cost = "" if self.cost is None else f", cost {self.cost:.4f}"
        return (
            f"{self.requests + self.cached:,} answers graded, {self.cached:,} from the cache, "
            f"{self.prompt_tokens:,} prompt and {self.completion_tokens:,} completion tokens{cost}"
        )


@dataclass(frozen=True)
class Grade:
    """The result of grading the answers to an eval set."""

    outcomes: Outcomes
    """Correctness of each example's answers, in [0, 1]."""
    score: float
    """A fraction; higher is better."""
    stderr: float | None
    """Standard error of the score; None over a single example."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Additional metrics of the same answers, as fractions, by name."""
    usage: JudgeUsage | None = None
    """What a judge was asked; None without a judge."""


class Scorer(ABC):
    """A metric. It is stateless."""

    runs_code = False
    """Whether grading executes model-written code."""
    resamples = False
    """Whether the standard error uses resampling. Another NumPy version may draw other resamples."""

    @property
    def rules(self) -> int:
        """Version of the metric's rules. A score from another version is not a valid cached score."""
        return 1 + len(self.earlier_versions())

    def earlier_versions(self) -> Sequence[Scorer]:
        """Return the earlier versions of the metric, newest first."""
        return []

    def caching_in(self, folder: Path | None) -> Scorer:
        """Return the scorer with what it can reuse cached in this folder; None stores nothing."""
        return self

    def trust_reason(self, task: Any) -> str | None:
        """Return how grading uses what the task file names if that can harm the user: 'scored by …'.

        None if it cannot. Otherwise grading needs the user's permission.
        """
        return None

    def row_columns(self, task: Any) -> Collection[str] | None:
        """Return the columns of the row that grading reads, for `Example.row`; None means all columns."""
        return ()

    def check_before_run(self, task: Any, examples: Sequence[Example]) -> list[str]:
        """Check, at the start of a run, that grading works; return warnings.

        What `trust_reason` says is permitted then. Raises: ScoringFailed, if it does not work.
        """
        return []

    def examples_warning(self, examples: Sequence[Example]) -> str | None:
        """Return a warning about examples that may not be scored as their author intends, or None."""
        return None

    @abstractmethod
    def grade(self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]) -> Grade:
        """Grade the answers, one entry per example."""

    def attainable(
        self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]
    ) -> tuple[Outcomes, float]:
        """Return (outcomes, score) if these are the best possible answers. No code is executed."""
        grade = self.grade(task, answers, examples)
        return grade.outcomes, grade.score

    def unscorable(self, task: Any, examples: Sequence[Example]) -> str | None:
        """Return why no answers to these examples can have a meaningful score; None if they can."""
        return None if examples else "there are no examples"


def mean_outcomes(
    answers: Sequence[Samples], examples: Sequence[Example], outcome: Callable[[str, Example], float]
) -> Outcomes:
    """Return the mean outcome of the samples of each example."""
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
    """Return the mean of the outcomes, with its standard error over distinct inputs."""
    groups = input_groups(examples)
    stderr = plain_error(outcomes) if groups is None else grouped_standard_error(outcomes, groups)
    return Grade(outcomes, float(outcomes.mean()), stderr, parts or {})


def plain_error(outcomes: Outcomes) -> float | None:
    """Return std (ddof = 1) / √n: the standard error of a mean over distinct inputs; None for one outcome."""
    return float(outcomes.std(ddof=1) / np.sqrt(len(outcomes))) if len(outcomes) > 1 else None


def input_groups(examples: Sequence[Example]) -> Groups | None:
    """Group examples with the same text and choices; None if all differ.

    An example without a text is its own group; no task reads such an example.
    """
    return groups_of([(e.text, *e.choices) if e.text else i for i, e in enumerate(examples)])


def resampled_error(
    examples: Sequence[Example], score: Callable[[Int64[np.ndarray, "n"]], float]
) -> float | None:
    """Return the std (ddof = 1) of a score over 200 seeded bootstrap resamples of distinct inputs."""
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
    """A metric that is the mean of a per-answer outcome."""

    outcome: Callable[[str, str], float]
    """(answer, target) → correctness of one answer, in [0, 1]; 0 for a blank answer."""
    earlier: tuple[Callable[[str, str], float], ...] = field(default=(), kw_only=True)
    """Earlier versions of `outcome`, oldest first."""

    def earlier_versions(self) -> Sequence[Scorer]:
        """Return the earlier versions of the metric, newest first."""
        return [replace(self, outcome=outcome, earlier=()) for outcome in reversed(self.earlier)]

    def grade(self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]) -> Grade:
        """Grade each example by the mean over its samples."""
        return mean_grade(self.outcomes(answers, examples), examples)

    def unscorable(self, task: Any, examples: Sequence[Example]) -> str | None:
        """Also reject examples whose expected answer scores 0, because every model would score 0 on them."""
        target_outcomes = self.outcomes([[example.target] for example in examples], examples)
        zero = next((e for e, value in zip(examples, target_outcomes, strict=True) if not value > 0), None)
        if zero is not None:
            return f"the expected answer of row {zero.id + 1}, {shown(zero.target)}, itself scores 0"
        return super().unscorable(task, examples)

    def attainable(
        self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]
    ) -> tuple[Outcomes, float]:
        """Return the mean of the outcomes, even if the score is another aggregate, which takes longer."""
        outcomes = self.outcomes(answers, examples)
        return outcomes, float(outcomes.mean())

    def outcomes(self, answers: Sequence[Samples], examples: Sequence[Example]) -> Outcomes:
        """Return the correctness of each example's answers."""
        return mean_outcomes(answers, examples, self._best_outcome)

    def _best_outcome(self, answer: str, example: Example) -> float:
        """Return the outcome of an answer against the reference answer that it matches best."""
        return max(grade * self.outcome(answer, gold) for gold, grade in example.graded_golds)


NOT_A_LABEL = 0
"""The number of an answer that is not one of the task's labels."""


@dataclass(frozen=True)
class AggregateScorer(MeanOutcome):
    """A metric over all answers jointly. Each answer is one label, of this task or of another."""

    aggregate: Callable[[Labels, Labels], float]
    """(answers, targets) → the score; labels as numbers, NOT_A_LABEL for an answer that is not a label."""
    least_labels: int = 1
    """Minimum number of different labels among the targets; with fewer, the score is undefined."""

    def unscorable(self, task: Any, examples: Sequence[Example]) -> str | None:
        """Also reject targets with fewer than `least_labels` different labels."""
        labels = {example.target for example in examples}
        if examples and len(labels) < self.least_labels:
            return f"all {len(examples):,} examples have the label {shown(labels.pop())}"
        return super().unscorable(task, examples)

    resamples = True

    def grade(self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]) -> Grade:
        """Grade all answers; the standard error is the spread over bootstrap resamples."""
        # The metrics compare numbers much faster than names.
        number = {label: i for i, label in enumerate(sorted(task.labels), start=NOT_A_LABEL + 1)}
        numbers = np.array(
            [
                [number.get(answer, NOT_A_LABEL) for (answer,) in answers],
                [number[example.target] for example in examples],
            ]
        )
        return Grade(
            outcomes=self.outcomes(answers, examples),
            score=self.aggregate(*numbers),
            stderr=resampled_error(examples, lambda drawn: self.aggregate(*numbers[:, drawn])),
        )
