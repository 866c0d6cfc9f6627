"""Metrics of a forgetting matrix. They are pure functions and never modify the matrix.

In the formulas T is the number of finished stages, so tasks that are not yet trained are left out.
Lower-is-better scores are negated. An average of scores is converted back to the metric's own sign. In a
difference, a positive value has the same meaning as for higher-is-better scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lori_cl.forgetting.formula import Metric, Missing, Scores, evaluate, mean
from lori_cl.forgetting.matrix import ForgettingMatrix


def acc(matrix: ForgettingMatrix) -> Metric:
    """Final average: mean over j of R[T, j]. Source: Lopez-Paz & Ranzato 2017 (GEM)."""

    def formula(R: Scores) -> float:
        R.need_tasks(1)
        return R.common_sign(R.T) * mean(R[R.T, j] for j in _tasks(R.T))

    return evaluate("acc", matrix, formula)


def bwt(matrix: ForgettingMatrix) -> Metric:
    """Backward transfer: 1/(T−1) · Σ_{j<T} (R[T, j] − R[j, j]). Source: GEM."""

    def formula(R: Scores) -> float:
        R.need_tasks(2)
        return mean(R[R.T, j] - R[j, j] for j in _tasks(R.T - 1))

    return evaluate("bwt", matrix, formula)


def forgetting(matrix: ForgettingMatrix) -> Metric:
    """Mean over j<T of (max_{j≤l<T} R[l, j] − R[T, j]); may be negative. Source: Chaudhry et al. 2018.

    l starts at j: a score from before the task was trained cannot be forgotten.
    """

    def formula(R: Scores) -> float:
        R.need_tasks(2)
        return mean(max(R[i, j] for i in range(j, R.T)) - R[R.T, j] for j in _tasks(R.T - 1))

    return evaluate("forgetting", matrix, formula)


def learning_accuracy(matrix: ForgettingMatrix) -> Metric:
    """Mean over j of R[j, j]. Source: Riemer et al. 2019."""

    def formula(R: Scores) -> float:
        R.need_tasks(1)
        return R.common_sign(R.T) * mean(R[j, j] for j in _tasks(R.T))

    return evaluate("learning_accuracy", matrix, formula)


def average_anytime_accuracy(matrix: ForgettingMatrix) -> Metric:
    """Mean over k of mean_{j≤k} R[k, j]. Source: Caccia et al. 2021."""

    def formula(R: Scores) -> float:
        R.need_tasks(1)
        return R.common_sign(R.T) * mean(mean(R[k, j] for j in _tasks(k)) for k in _tasks(R.T))

    return evaluate("average_anytime_accuracy", matrix, formula)


def fwt(matrix: ForgettingMatrix) -> Metric:
    """Forward transfer: 1/(T−1) · Σ_{j≥2} (R[j−1, j] − R[0, j]). Source: GEM.

    GEM's baseline is a random initialisation; this one is the base model's zero-shot score.
    """

    def formula(R: Scores) -> float:
        R.need_tasks(2)
        return mean(R[j - 1, j] - R[0, j] for j in _tasks(R.T)[1:])

    return evaluate("fwt", matrix, formula)


def overall_performance(matrix: ForgettingMatrix, t: int) -> Metric:
    """Mean over j≤t of R[t, j]. Source: TRACE (Wang et al. 2023)."""

    def formula(R: Scores) -> float:
        R.need_stage(t)
        return R.common_sign(t) * mean(R[t, j] for j in _tasks(t))

    return evaluate("overall_performance", matrix, formula)


def intransigence(matrix: ForgettingMatrix, k: int, J: Mapping[str, float]) -> Metric:
    """J[k] − R[k, k]. Source: Chaudhry et al. 2018.

    J[k], by task name: the score on task k of joint training on tasks 1..k, in the metric's own sign.
    """

    def formula(R: Scores) -> float:
        R.need_stage(k)
        return R.reference("J", J, k) - R[k, k]

    return evaluate("intransigence", matrix, formula)


def single_task_gap(matrix: ForgettingMatrix, S: Mapping[str, float]) -> Metric:
    """Mean over j of (S[j] − R[j, j]); some papers call its negative "FWT".

    S[j], by task name: the score of a run that trains only that task, in the metric's own sign.
    """

    def formula(R: Scores) -> float:
        R.need_tasks(1)
        return mean(R.reference("S", S, j) - R[j, j] for j in _tasks(R.T))

    return evaluate("single_task_gap", matrix, formula)


def retention(matrix: ForgettingMatrix, S: Mapping[str, float]) -> Metric:
    """Mean over j of R[T, j] / S[j]; undefined if S[j] = 0.

    S as in single_task_gap. For lower-is-better scores a ratio above 1 is worse.
    """

    def ratio(R: Scores, j: int) -> float:
        single = R.reference("S", S, j)
        if single == 0:
            raise Missing(f"undefined: S[{matrix.tasks[j - 1]}] is 0")
        return R[R.T, j] / single

    def formula(R: Scores) -> float:
        R.need_tasks(1)
        R.common_sign(R.T)
        return mean(ratio(R, j) for j in _tasks(R.T))

    return evaluate("retention", matrix, formula)


def _tasks(last: int) -> range:
    return range(1, last + 1)


@dataclass(frozen=True)
class MetricEntry:
    """A metric and its description in a report."""

    name: str
    """As in `Metric.name`."""
    title: str
    """Human-readable title."""
    function: Callable[..., Metric]
    """Takes the matrix, then the arguments in `needs`."""
    needs: tuple[str, ...]
    """Names of the arguments after the matrix; empty if it needs only the matrix."""
    formula: str
    """The formula in one line; T is the number of finished stages."""
    source: str
    """The paper, or the origin of the name."""


METRICS: tuple[MetricEntry, ...] = (
    MetricEntry("acc", "Final average", acc, (), "mean over j of R[T, j]", "Lopez-Paz & Ranzato 2017 (GEM)"),
    MetricEntry(
        "bwt",
        "Backward transfer",
        bwt,
        (),
        "1/(T−1) · Σ_{j<T} (R[T, j] − R[j, j])",
        "Lopez-Paz & Ranzato 2017 (GEM)",
    ),
    MetricEntry(
        "forgetting",
        "Forgetting",
        forgetting,
        (),
        "mean over j<T of (max_{j≤l<T} R[l, j] − R[T, j])",
        "Chaudhry et al. 2018; l starts at j",
    ),
    MetricEntry(
        "learning_accuracy",
        "Learning accuracy",
        learning_accuracy,
        (),
        "mean over j of R[j, j]",
        "Riemer et al. 2019",
    ),
    MetricEntry(
        "average_anytime_accuracy",
        "Average anytime accuracy",
        average_anytime_accuracy,
        (),
        "mean over k of mean_{j≤k} R[k, j]",
        "Caccia et al. 2021",
    ),
    MetricEntry(
        "fwt",
        "Forward transfer, over the base model's zero-shot score",
        fwt,
        (),
        "1/(T−1) · Σ_{j≥2} (R[j−1, j] − R[0, j])",
        "Lopez-Paz & Ranzato 2017 (GEM); the baseline is the base model's zero-shot score",
    ),
    MetricEntry(
        "overall_performance",
        "Overall performance at stage t",
        overall_performance,
        ("t",),
        "mean over j≤t of R[t, j]",
        "TRACE (Wang et al. 2023)",
    ),
    MetricEntry(
        "intransigence",
        "Intransigence at stage k",
        intransigence,
        ("k", "J"),
        "J[k] − R[k, k]",
        "Chaudhry et al. 2018",
    ),
    MetricEntry(
        "single_task_gap",
        "Gap to single-task runs",
        single_task_gap,
        ("S",),
        "mean over j of (S[j] − R[j, j])",
        'named here; some papers call its negative "FWT"',
    ),
    MetricEntry(
        "retention",
        "Retention of single-task scores",
        retention,
        ("S",),
        "mean over j of R[T, j] / S[j]",
        "named here; undefined if S[j] = 0",
    ),
)
"""All metrics, in the order of the report table. Metrics that need only the matrix come first."""


def all_metrics(matrix: ForgettingMatrix, S: Mapping[str, float] | None = None) -> tuple[Metric, ...]:
    """Compute the metrics that need only the matrix, in the order of the report table.

    If S is given, as in single_task_gap, add the metrics that compare with it.
    """
    from_matrix = tuple(entry.function(matrix) for entry in METRICS if not entry.needs)
    if S is None:
        return from_matrix
    return (*from_matrix, *(entry.function(matrix, S) for entry in METRICS if entry.needs == ("S",)))
