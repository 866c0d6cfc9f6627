"""Check the routing statistics of a run against the registry."""

from __future__ import annotations

from safetensors import numpy as safetensors_numpy

from lori_cl.errors import VerificationError
from lori_cl.methods.verification import expect
from lori_cl.registry import is_active_after
from lori_cl.routing import TaskStatistics
from lori_cl.serving.checks.evidence import Evidence
from lori_cl.spec import View


def statistics(evidence: Evidence) -> str:
    """Check that every statistics file belongs to its registered task, data and base model."""
    run, stages = evidence.run, {stage.task: stage for stage in evidence.run.stages}
    for record in evidence.statistics:
        where, metadata = evidence.at_task(record.task), evidence.metadata_of(record.artifact)
        content = evidence.artifacts.get(record.artifact, "safetensors")
        n = TaskStatistics.from_arrays(safetensors_numpy.load(content)).n
        for what, found, recorded in (
            ("the task", metadata["task"], record.task),
            ("the digest of the training examples", metadata["train"], stages[record.task].train_digest),
            ("the digest of the base model", metadata["base"], run.base_digest),
            ("the number of texts", n, record.n),
        ):
            expect(where, f"{what} in its statistics {record.artifact}", found, recorded)
    _check_complete(evidence)
    return f"of {len(evidence.statistics)} tasks" if evidence.statistics else "none: no view needs them"


def _check_complete(evidence: Evidence) -> None:
    """Check that every task that a routed score could choose has statistics."""
    routed = max((e.stage for e in evidence.evaluations if e.view == View.ROUTED), default=0)
    known = {record.task for record in evidence.statistics}
    for stage in evidence.run.stages[:routed]:
        if stage.task not in known and is_active_after(stage.retired_after, routed):
            raise VerificationError(
                f"{evidence.at(stage.position)}: there are routed scores, but no statistics of this task"
            )
