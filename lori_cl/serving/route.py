"""Score a run without task ids: the task of each text is predicted, and that task's adapter answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from lori_cl.errors import InputError, LoriError
from lori_cl.evaluation import LoadedRun, load_run
from lori_cl.evaluation.cached_scores import find_cached
from lori_cl.evaluation.evaluator import Evaluator
from lori_cl.evaluation.routing_features import read_features
from lori_cl.evaluation.routing_statistics import load_statistics, read_gathered
from lori_cl.registry import Evaluation, Registry, Workspace
from lori_cl.routing import Router
from lori_cl.runtime import Progress, SilentProgress
from lori_cl.spec import View
from lori_cl.task_data.eval_tasks import EvalTask, check_permissions
from lori_cl.tasks import Example
from lori_cl.tasks.scorers.pass_at_k import repeatable_parts


@dataclass(frozen=True)
class RouteOptions:
    """Options for scoring a run in the view `routed`."""

    measure_all: bool = False
    """Measure existing scores again, and check that they are equal."""
    allow_code_execution: bool = False
    """Run model-generated programs, contained, for tasks that are scored by running them."""
    trust_tasks: bool = False
    """Run the scorer functions of the tasks, without containment, and send answers to their judges."""


def route_run(workspace: Workspace, name: str, options: RouteOptions, progress: Progress) -> None:
    """Score every trained task of a run in the view `routed` after its last stage, and commit the scores.

    Missing routing statistics are gathered first. Does nothing if all scores exist.
    Raises: UnknownRun; RunConflict, if another process uses the run; InputError, if no task is trained yet,
    if data or model do not allow it, or if code execution is not allowed; LoriError, if a score that was
    measured again differs.
    """
    with workspace.open_locked(name) as registry:
        run = registry.run(name)
        learned = run.tasks[: len(run.stages)]
        known = _routed_scores(registry, name, stage=len(run.stages))
        if learned and not options.measure_all and {task.label for task in learned} <= known.keys():
            return
        check_permissions(learned, options)
        loaded = load_run(workspace, registry, name)
        statistics = load_statistics(loaded, registry, progress)
        evaluator = Evaluator(
            loaded.base,
            loaded.model,
            loaded.method,
            workspace.artifacts,
            progress,
            partial(find_cached, registry, workspace.artifacts),
            options.measure_all,
        )
        scores = evaluator.row([View.ROUTED], statistics.history, loaded.eval_tasks)
        _check_same(known, scores)
        files = {**statistics.files, **evaluator.pop_written()}
        fresh = [score for score in scores if score.task not in known]
        registry.commit_stage(name, None, fresh, files, statistics.records)


def load_router(loaded: LoadedRun) -> Router:
    """Fit the router over the tasks of a run that are not retired, from their registered statistics.

    Raises: InputError, if statistics of a task are missing, or all tasks are retired; ArtifactMissing;
    ArtifactDamaged.
    """
    with loaded.workspace.read() as registry:
        known = {of.task: of.artifact for of in registry.statistics(loaded.run.name)}
    tasks = [learned.task for learned in loaded.acting(None)]
    if not tasks:
        raise InputError(f"all trained tasks of run '{loaded.run.name}' are retired; train another task")
    missing = [task for task in tasks if task not in known]
    if missing:
        raise InputError(
            f"run '{loaded.run.name}' has no routing statistics for {len(missing)} of its {len(tasks)} tasks "
            f"('{missing[0]}' is the first); gather them with: lori-cl route {loaded.run.name}"
        )
    return Router.fit({task: read_gathered(loaded, known[task]).statistics for task in tasks})


def predict_tasks(
    loaded: LoadedRun,
    router: Router,
    eval_task: EvalTask,
    examples: Sequence[Example],
    progress: Progress | None = None,
) -> list[str]:
    """Return the label of each example's most likely task; the examples are encoded as for `eval_task`.

    An encoder encodes the examples of all tasks alike. For a language model, the text of an example is the
    whole prompt, and the wording of a task's prompt is a strong hint.
    """
    features = read_features(loaded.base, loaded.model, eval_task, examples, progress or SilentProgress())
    return router.route(features)


def _routed_scores(registry: Registry, name: str, stage: int) -> Mapping[str, Evaluation]:
    """Return the committed routed scores of a stage, by task."""
    found = registry.evaluations(name)
    return {e.task: e for e in found if e.stage == stage and e.view == View.ROUTED}


def _outcome(score: Evaluation) -> tuple[object, object]:
    return score.outcomes, repeatable_parts(score.parts)


def _check_same(known: Mapping[str, Evaluation], scores: Sequence[Evaluation]) -> None:
    for score in scores:
        before = known.get(score.task)
        if before is not None and _outcome(before) != _outcome(score):
            raise LoriError(
                f"'{score.task}' under routed: measured {score.score:.4f} now, but {before.score:.4f} is "
                "committed: this machine or its packages compute differently; lori-cl runs --lineage shows "
                "the recorded environment"
            )
