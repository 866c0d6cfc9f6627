"""Check that the rows of the registry are consistent with each other."""

from __future__ import annotations

from lori_cl.errors import VerificationError
from lori_cl.methods import METHODS, MaskedMethod
from lori_cl.methods.verification import expect
from lori_cl.serving.checks.evidence import Evidence
from lori_cl.spec import task_from_record


def database(evidence: Evidence) -> str:
    """Check the integrity of the database."""
    damage = evidence.registry.damage()
    if damage:
        raise VerificationError(f"the registry's database: {damage[0]}; restore it from a backup")
    return "intact, and every reference between rows is valid"


def declarations(evidence: Evidence) -> str:
    """Check that tasks and environments have their registered digests, and tasks match their declarations."""
    digests = evidence.registry.row_digests(evidence.run.name)
    for what, recorded, found in digests:
        expect(what, "its digest", found, recorded)
    for task in evidence.run.scored_tasks:
        spec = task_from_record(task.spec).to_record()
        for field in ("name", "kind", "metric", "seed"):
            expect(f"task {task.label}", f"{field} in its declaration", spec[field], getattr(task, field))
    tasks = len(evidence.run.scored_tasks)
    return f"tasks {tasks}, environments {len(digests) - tasks}: every digest matches"


def curriculum(evidence: Evidence) -> str:
    """Check that the curriculum is valid, and names the run's method, seed, model and tasks."""
    run, spec = evidence.run, evidence.curriculum
    expect("the curriculum", "method", spec.method, run.method)
    expect("the curriculum", "seed", spec.seed, run.seed)
    expect("the curriculum", "model.revision", spec.model.revision, run.base_revision)
    expect("the curriculum", "the number of its tasks", len(spec.tasks), len(run.tasks))
    for task, name in zip(run.tasks, spec.tasks, strict=True):
        if name not in {task.name, task.label, f"{task.name}@{task.version}"}:
            expect("the curriculum", "a task", name, task.label)
    has_masks = issubclass(METHODS.find(run.method), MaskedMethod)
    expect(f"method {run.method}", "whether it has projections A", has_masks, run.projection is not None)
    return f"valid, with the run's method, seed and {len(run.tasks)} tasks"
