"""Whether the registry's own rows agree with each other."""

from __future__ import annotations

from lori_cl.errors import Untruth
from lori_cl.serving.checks.evidence import Evidence, expect
from lori_cl.spec import task_from_record
from lori_cl.training.determinism import derive_seed


def database(evidence: Evidence) -> str:
    """The database finds nothing wrong with itself."""
    damage = evidence.registry.damage()
    if damage:
        raise Untruth(f"the registry's database: {damage[0]}; restore it from a backup")
    return "whole, and every row refers to one that is there"


def declarations(evidence: Evidence) -> str:
    """Tasks and environments have the digests that were registered, and tasks are what they declare."""
    bearing = evidence.registry.row_digests(evidence.run.name)
    for what, recorded, found in bearing:
        expect(what, "its digest", found, recorded)
    for task in evidence.run.tasks:
        spec = task_from_record(task.spec).to_record()
        for field in ("name", "kind", "metric", "seed"):
            expect(f"task {task.label}", f"{field} in its declaration", spec[field], getattr(task, field))
    tasks = len(evidence.run.tasks)
    return f"tasks {tasks}, environments {len(bearing) - tasks}: each has its digest"


def curriculum(evidence: Evidence) -> str:
    """The curriculum is a valid one, and the run's method, seed, model, tasks and A's are those it names."""
    run, spec = evidence.run, evidence.curriculum
    expect("the curriculum", "method", spec.method, run.method)
    expect("the curriculum", "seed", spec.seed, run.seed)
    expect("the curriculum", "model.revision", spec.model.revision, run.base_revision)
    expect("the curriculum", "the number of its tasks", len(spec.tasks), len(run.tasks))
    for task, asked in zip(run.tasks, spec.tasks, strict=True):
        if asked not in {task.name, task.label, f"{task.name}@{task.version}"}:
            expect("the curriculum", "a task", asked, task.label)
    if run.projection is not None:
        adapter, a = spec.adapter, run.projection
        made = (adapter.projection, adapter.distribution, adapter.rank, derive_seed(spec.seed, "projection"))
        told = (a.kind, a.distribution, a.rank, a.seed)
        expect("the curriculum", "(projection, distribution, rank, seed) of its A's", made, told)
    return f"valid, with the run's method, seed and {len(run.tasks)} tasks"
