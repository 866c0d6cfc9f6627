"""How a run does where nobody says which task a text belongs to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lori_cl.errors import ArtifactDamaged
from lori_cl.registry import ArtifactStore, Evaluation, Registry, acts_after

ROUTED = "routed"  # lori_cl.spec's View.ROUTED; importing pydantic for one word would slow every report
ROUTING_ACCURACY = "routing_accuracy"
"""The part of a routed score that says how many examples were taken for their own task's."""


@dataclass(frozen=True)
class RoutedTask:
    """A learned task after the last stage, under every view."""

    task: str
    as_trained: float | None
    """Told the task; None where the run was not scored so."""
    current: float | None
    """With everything learned; None where the run was not scored so."""
    routed: float
    """The task guessed."""
    routing_accuracy: float
    """Fraction of its examples that were taken for its own."""
    n: int
    """Examples."""
    sent_to: Mapping[str, int]
    """How many of its examples were taken for each learned task's, in the order of learning."""
    retired: bool = False
    """Whether its task is, so that nothing is taken for one of its own any more."""


@dataclass(frozen=True)
class Routing:
    """A run's tasks, none of them told."""

    run: str
    stage: int
    """Stages done when they were scored."""
    tasks: tuple[RoutedTask, ...]
    """In the order of learning."""

    def to_record(self) -> dict[str, Any]:
        """As JSON values."""
        return {"run": self.run, "stage": self.stage, "tasks": [asdict(task) for task in self.tasks]}


def gather_routing(registry: Registry, artifacts: ArtifactStore, run_name: str) -> Routing:
    """What is registered of a run's last stage under `routed`; tasks without such a score are left out.

    Raises: UnknownRun; ArtifactMissing or ArtifactDamaged, if answers cannot be read back.
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
            sent_to=_sent_to(artifacts, routed, labels),
            retired=not acts_after(done.retired_after, stage),
        )
        for label, done in zip(labels, run.stages, strict=True)
        if (routed := scored.get((label, ROUTED)))
    )
    return Routing(run_name, stage, tuple(tasks))


def _score(evaluation: Evaluation | None) -> float | None:
    return None if evaluation is None else evaluation.score


def _sent_to(artifacts: ArtifactStore, routed: Evaluation, labels: list[str]) -> dict[str, int]:
    # Not splitlines(): an answer may hold U+2028, which JSON leaves as it is.
    lines = artifacts.get(routed.answers, "jsonl").decode().split("\n")
    try:
        counted = Counter(json.loads(line)["sent_to"] for line in lines if line)
    except (ValueError, LookupError, TypeError):
        raise ArtifactDamaged(
            f"the answers {routed.answers} do not say which task each was sent to"
        ) from None
    return {label: counted[label] for label in labels}
