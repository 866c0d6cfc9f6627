"""Whether what a run can tell its tasks' texts by is what the registry says."""

from __future__ import annotations

from safetensors import numpy as safetensors_numpy

from lori_cl.errors import Untruth
from lori_cl.registry import acts_after
from lori_cl.routing import TaskStatistics
from lori_cl.serving.checks.evidence import Evidence, expect
from lori_cl.spec import View


def statistics(evidence: Evidence) -> str:
    """Every file of statistics is of the task, data and base model that it is registered for."""
    run, stages = evidence.run, {stage.task: stage for stage in evidence.run.stages}
    for kept in evidence.statistics:
        where, told = evidence.at_task(kept.task), evidence.metadata_of(kept.artifact)
        content = evidence.artifacts.get(kept.artifact, "safetensors")
        n = TaskStatistics.from_arrays(safetensors_numpy.load(content)).n
        for what, found, recorded in (
            ("the task", told["task"], kept.task),
            ("the digest of the training examples", told["train"], stages[kept.task].train_digest),
            ("the digest of the base model", told["base"], run.base_digest),
            ("the number of texts", n, kept.n),
        ):
            expect(where, f"{what} in its statistics {kept.artifact}", found, recorded)
    _check_all_there(evidence)
    return f"of {len(evidence.statistics)} tasks" if evidence.statistics else "none: no view needs them"


def _check_all_there(evidence: Evidence) -> None:
    """That every task which a routed score could take a text for has some."""
    routed = max((e.stage for e in evidence.evaluations if e.view == View.ROUTED), default=0)
    known = {kept.task for kept in evidence.statistics}
    for stage in evidence.run.stages[:routed]:
        if stage.task not in known and acts_after(stage.retired_after, routed):
            raise Untruth(
                f"{evidence.at(stage.position)}: there are scores under routed, and no statistics of it"
            )
