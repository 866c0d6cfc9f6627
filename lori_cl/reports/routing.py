"""Scores of a run under the view `routed`, in which a router predicts the task of each input."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lori_cl.errors import ArtifactDamaged
from lori_cl.registry import ArtifactStore, Evaluation, Registry, is_active_after

ROUTED = "routed"  # lori_cl.spec's View.ROUTED; importing it (pydantic) would slow every report
ROUTING_ACCURACY = "routing_accuracy"
"""The part of a routed score that holds the fraction of examples routed to their own task."""


@dataclass(frozen=True)
class RoutedTask:
    """A trained task after the last stage, under every view."""

    task: str
    as_trained: float | None
    """Score with the task id; None if the run was not scored under this view."""
    current: float | None
    """Score with the whole adapter; None if the run was not scored under this view."""
    routed: float
    """Score with the predicted task."""
    routing_accuracy: float
    """Fraction of its examples routed to the task itself."""
    n: int
    """Number of examples."""
    routed_to: Mapping[str, int]
    """Number of its examples routed to each trained task, in training order."""
    retired: bool = False
    """Whether the task is retired, so that no example is routed to it."""


@dataclass(frozen=True)
class Routing:
    """A run's tasks scored without task ids."""

    run: str
    stage: int
    """Number of finished stages when the tasks were scored."""
    tasks: tuple[RoutedTask, ...]
    """In training order."""

    def to_record(self) -> dict[str, Any]:
        """Return the scores as JSON values."""
        return {"run": self.run, "stage": self.stage, "tasks": [asdict(task) for task in self.tasks]}


def gather_routing(registry: Registry, artifacts: ArtifactStore, run_name: str) -> Routing:
    """Return the scores of a run's last stage under `routed`; tasks without such a score are omitted.

    Raises: UnknownRun; ArtifactMissing or ArtifactDamaged, if answers cannot be read.
    """
    run = registry.run(run_name)
    stage, labels = len(run.stages), [done.task for done in run.stages]
    scored = {(e.task, e.view): e for e in registry.evaluations(run_name) if e.stage == stage}
    tasks = (
        RoutedTask(
            task=label,
            as_trained=_score(scored.get((label, "as_trained"))),
            current=_score(scored.get((label, "current"))),
            routed=routed.score,
            routing_accuracy=routed.parts[ROUTING_ACCURACY],
            n=routed.n,
            routed_to=_routed_to(artifacts, routed, labels),
            retired=not is_active_after(done.retired_after, stage),
        )
        for label, done in zip(labels, run.stages, strict=True)
        if (routed := scored.get((label, ROUTED)))
    )
    return Routing(run_name, stage, tuple(tasks))


def _score(evaluation: Evaluation | None) -> float | None:
    return None if evaluation is None else evaluation.score


def _routed_to(artifacts: ArtifactStore, routed: Evaluation, labels: list[str]) -> dict[str, int]:
    # Not splitlines(): an answer may hold U+2028, which JSON leaves as it is.
    lines = artifacts.get(routed.answers, "jsonl").decode().split("\n")
    try:
        counted = Counter(json.loads(line)["sent_to"] for line in lines if line)
    except (ValueError, LookupError, TypeError):
        raise ArtifactDamaged(
            f"the answers {routed.answers} do not all name the task they were sent to"
        ) from None
    return {label: counted[label] for label in labels}
