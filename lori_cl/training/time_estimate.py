"""Estimate the time of a run from the recorded times of earlier runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from lori_cl.registry import Registry, StageTime, flatten
from lori_cl.spec import CurriculumSpec

DEVICE = ("device", "machine", "threads", "processes")
"""Fields of the environment that identify a device."""

SETTINGS = (
    "method",
    "adapter.rank",
    "adapter.targets",
    "masks.strategy",
    "masks.calibration.epochs",
    "masks.calibration.fraction",
    "train.batch_size",
    "train.gradient_accumulation",
    "train.gradient_checkpointing",
    "train.max_length",
    "train.precision",
)
"""Settings on which the time of an optimizer step depends most."""


@dataclass(frozen=True)
class TimeEstimate:
    """Recorded times per optimizer step and per scored example."""

    steps: Mapping[str, float]
    """Mean seconds per optimizer step by task, in runs with the same `SETTINGS`."""
    examples: Mapping[str, float]
    """Mean seconds per scored example by task."""
    runs: Sequence[str]
    """The runs that were timed, newest last."""

    @classmethod
    def of(
        cls, registry: Registry, base_digest: str, curriculum: CurriculumSpec, here: Mapping[str, Any]
    ) -> Self:
        """Read the times of runs with the same base model on the same device."""
        fields = flatten(curriculum.to_record())
        wanted = {field: fields.get(field) for field in SETTINGS}
        stages, scores = registry.recorded_times(base_digest)
        alike = [each for each in stages if _is_alike(each, wanted, here)]
        steps = _means((each.task, each.steps, each.train_s) for each in alike if each.steps)
        timed = (each for each in scores if _on_device(each.environment, here))
        examples = _means((each.task, each.n, each.elapsed_s) for each in timed)
        return cls(steps, examples, list(dict.fromkeys(each.run for each in alike if each.steps)))

    def stage_s(self, task: str, steps: int, scored: Sequence[tuple[str, int]]) -> float | None:
        """Return the estimated time of a stage: `steps` of training, and (task, examples) to score."""
        evaluation = self.evaluation_s(scored)
        if not self.steps or evaluation is None:
            return None
        return steps * _rate(self.steps, task) + evaluation

    def evaluation_s(self, scored: Sequence[tuple[str, int]]) -> float | None:
        """Return the estimated time of scoring these (task, examples)."""
        if not self.steps or not self.examples:
            return None
        return sum(n * _rate(self.examples, task) for task, n in scored)


def _is_alike(stage: StageTime, wanted: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    recorded = flatten(stage.curriculum)  # a record of an earlier version lacks newer fields
    same = all(recorded.get(field, value) == value for field, value in wanted.items())
    return same and _on_device(stage.environment, here)


def _on_device(environment: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    return all(environment.get(field) == here.get(field) for field in DEVICE)


def _means(found: Iterable[tuple[str, int, float]]) -> dict[str, float]:
    """Return the mean seconds per unit by task, from (task, units, seconds)."""
    units: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for task, n, elapsed_s in found:
        units[task] = units.get(task, 0) + n
        seconds[task] = seconds.get(task, 0.0) + elapsed_s
    return {task: seconds[task] / n for task, n in units.items()}


def _rate(rates: Mapping[str, float], task: str) -> float:
    """Return the rate of a task, or the mean over the other tasks."""
    return rates[task] if task in rates else sum(rates.values()) / len(rates)
