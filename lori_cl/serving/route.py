"""A run without task ids: each text's task is guessed, and that task answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from lori_cl.errors import InputError, LoriError
from lori_cl.registry import Evaluation, Registry, Workspace
from lori_cl.routing import Router
from lori_cl.spec import View
from lori_cl.tasks import Example
from lori_cl.tasks.scorers.pass_at_k import repeatable_parts
from lori_cl.training import LoadedRun, Observer, SilentObserver, load_run
from lori_cl.training.cached_scores import find_cached
from lori_cl.training.evaluate import Question
from lori_cl.training.examiner import Examiner
from lori_cl.training.features import read_features
from lori_cl.training.gathering import read_gathered, recall
from lori_cl.training.preparation import check_code_execution


@dataclass(frozen=True)
class RouteOptions:
    """How a run is scored under `routed`."""

    measure_all: bool = False
    """Measure again what is there already, and make sure that it comes out the same."""
    allow_code_execution: bool = False
    """Run the programs that the model writes, contained, where a task is scored by that."""


def route_run(workspace: Workspace, name: str, options: RouteOptions, observer: Observer) -> None:
    """Score every learned task of a run under `routed`, after its last stage, and commit the scores.

    Statistics that the run lacks are gathered first. Does nothing where the scores are there already.
    Raises: UnknownRun; RunConflict, if another process is at the run; InputError, if nothing is learned yet,
    or the data, the model or what may be run does not allow it; LoriError, if a score that was measured again
    comes out otherwise.
    """
    with workspace.open_held(name) as registry:
        run = registry.run(name)
        learned = run.tasks[: len(run.stages)]
        known = _routed_scores(registry, name, stage=len(run.stages))
        if learned and not options.measure_all and {task.label for task in learned} <= known.keys():
            return
        check_code_execution(learned, options.allow_code_execution)
        loaded = load_run(workspace, registry, name)
        recalled = recall(loaded, registry, observer)
        examiner = Examiner(
            loaded.base,
            loaded.model,
            loaded.method,
            workspace.artifacts,
            observer,
            partial(find_cached, registry, workspace.artifacts),
            options.measure_all,
        )
        scores = examiner.row([View.ROUTED], recalled.history, loaded.questions)
        _check_same(known, scores)
        files = {**recalled.files, **examiner.take_written()}
        fresh = [score for score in scores if score.task not in known]
        registry.commit_stage(name, None, fresh, files, recalled.records)


def load_router(loaded: LoadedRun) -> Router:
    """What guesses between the tasks of a run that are not retired, from statistics that were registered.

    Raises: InputError, if those of a task were never gathered, or all are retired; ArtifactMissing;
    ArtifactDamaged.
    """
    with loaded.workspace.read() as registry:
        known = {of.task: of.artifact for of in registry.statistics(loaded.run.name)}
    tasks = [learned.task for learned in loaded.acting(None)]
    if not tasks:
        raise InputError(f"every task that run '{loaded.run.name}' has learned is retired; learn another")
    missing = [task for task in tasks if task not in known]
    if missing:
        raise InputError(
            f"run '{loaded.run.name}' has not gathered what it could tell the texts of {len(missing)} of its "
            f"{len(tasks)} tasks by ('{missing[0]}' is the first); do it: lori-cl route {loaded.run.name}"
        )
    return Router.fit({task: read_gathered(loaded, known[task]).statistics for task in tasks})


def guess(
    loaded: LoadedRun,
    router: Router,
    question: Question,
    examples: Sequence[Example],
    observer: Observer | None = None,
) -> list[str]:
    """The label of each example's likeliest task; the examples are read as `question` asks them.

    To an encoder all questions are alike; to a language model an example's text is the whole prompt, in
    which a task's own wording is a strong hint.
    """
    features = read_features(loaded.base, loaded.model, question, examples, observer or SilentObserver())
    return router.route(features)


def _routed_scores(registry: Registry, name: str, stage: int) -> Mapping[str, Evaluation]:
    """Those that are committed, by task."""
    found = registry.evaluations(name)
    return {e.task: e for e in found if e.stage == stage and e.view == View.ROUTED}


def _outcome(score: Evaluation) -> tuple[object, object]:
    return score.outcomes, repeatable_parts(score.parts)


def _check_same(known: Mapping[str, Evaluation], scores: Sequence[Evaluation]) -> None:
    for score in scores:
        before = known.get(score.task)
        if before is not None and _outcome(before) != _outcome(score):
            raise LoriError(
                f"'{score.task}' under routed came out at {score.score:.4f}, and {before.score:.4f} is "
                "committed: this machine or its packages compute otherwise; lori-cl runs says what it was "
                "computed with"
            )
