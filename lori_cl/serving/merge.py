"""Several tasks' adapters as one, written as an ordinary PEFT folder and scored as it was written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from peft import PeftModel

from lori_cl.adapters import (
    ADAPTER_NAME,
    LoRAWeights,
    Merged,
    is_transposed,
    merge,
    save_peft,
    settled_settings,
    settled_weights,
)
from lori_cl.errors import InputError, WorkspaceUnusable
from lori_cl.registry import Registry, Workspace
from lori_cl.reports.wording import listed
from lori_cl.serving.beside import Head, heads_of, write_beside
from lori_cl.serving.merge_request import Choice, MergeRequest, choose
from lori_cl.serving.merge_scores import Exam, MergedScore, merged_score, own_exam
from lori_cl.training.loading import LoadedRun, load_run
from lori_cl.training.observer import Observer


@dataclass(frozen=True)
class MergeOutcome:
    """What a merge made."""

    request: MergeRequest
    choices: Sequence[Choice]
    weights: Sequence[float]
    """One a choice, as they were used."""
    rank: int
    truncation_error: float | None
    """Relative Frobenius error of factoring the merged ΔW; None where nothing was factored."""
    heads: tuple[str, ...]
    """Files of classification heads."""
    scores: Sequence[MergedScore]
    """One a choice; empty where nothing was scored."""


@dataclass(frozen=True)
class _Part:
    weights: LoRAWeights
    heads: Sequence[Head]
    """The task's, where it has one."""
    exam: Exam | None


def merge_tasks(workspace: Workspace, request: MergeRequest, observer: Observer) -> MergeOutcome:
    """Merge the tasks' adapters, write the folder, and score what was written where that is asked for.

    A task's adapter is what its own stage trained: of a stacked run its own cells alone, since the as_trained
    view of a later task holds the earlier tasks' cells too, and merging both would count those twice.
    Nothing in the workspace changes.
    Raises: InputError; UnknownRun; UnknownTask; ModelError; RunConflict, if the base model is another one
    now; ArtifactMissing; ArtifactDamaged; WorkspaceUnusable, if the folder cannot be written.
    """
    with workspace.read() as registry:
        choices = choose(registry, request)
        parts, loaded = _gather(workspace, registry, request, choices, observer)
    adapters = [parts[choice.shown].weights for choice in choices]
    merged = merge(adapters, request.method, request.weights, request.settings)
    weights = settled_weights(request.method, len(choices), request.weights)
    if not merged.weights.acts:
        raise InputError(
            f"merged by {request.method} with the weights {', '.join(f'{w:g}' for w in weights)}, the "
            "adapter is zero everywhere: it would be the base model; give other --weights"
        )
    if not merged.weights.finite:
        raise InputError(
            f"merged with the weights {', '.join(f'{w:g}' for w in weights)}, the adapter is too large for "
            "float32; give smaller --weights"
        )
    _write(request, choices, weights, merged, loaded)
    heads = _write_beside(request, choices, parts)
    exams = [exam for choice in choices if (exam := parts[choice.shown].exam) is not None]
    return MergeOutcome(
        request=request,
        choices=choices,
        weights=weights,
        rank=next(iter(merged.weights.a.values())).shape[0],
        truncation_error=merged.truncation_error,
        heads=heads,
        scores=_scores(request, loaded, exams, observer) if exams else [],
    )


def _gather(
    workspace: Workspace,
    registry: Registry,
    request: MergeRequest,
    choices: Sequence[Choice],
    observer: Observer,
) -> tuple[Mapping[str, _Part], LoadedRun]:
    """Every choice's weights and own score, and the last of the runs, loaded."""
    parts: dict[str, _Part] = {}
    loaded: LoadedRun | None = None
    for run in dict.fromkeys(choice.run.name for choice in choices):
        loaded = None  # one base model in memory at a time
        loaded = load_run(workspace, registry, run)
        for choice in choices:
            if choice.run.name == run:
                at = choice.position
                exam = own_exam(loaded, at, registry, observer) if request.evaluate else None
                heads = heads_of(loaded, [choice.task.label])
                parts[choice.shown] = _Part(own_weights(loaded, at), heads, exam)
    assert loaded is not None, "a request names at least one task"
    return parts, loaded


def own_weights(loaded: LoadedRun, position: int) -> LoRAWeights:
    """What a task's own stage trained, without what earlier ones did where the method keeps them apart."""
    if loaded.method.overwrites:
        return loaded.weights([loaded.history[position].learned])
    return loaded.update(position)


def _write(
    request: MergeRequest,
    choices: Sequence[Choice],
    weights: Sequence[float],
    merged: Merged,
    loaded: LoadedRun,
) -> None:
    run = choices[0].run
    save_peft(
        request.out,
        merged.weights,
        run.base_path,
        run.base_revision,
        {
            "base": {"path": run.base_path, "revision": run.base_revision, "digest": run.base_digest},
            "merge": merge_record(request, choices, weights),
        },
        fan_in_fan_out=is_transposed(loaded.model),
    )


def _write_beside(
    request: MergeRequest, choices: Sequence[Choice], parts: Mapping[str, _Part]
) -> tuple[str, ...]:
    """Write a README and the tasks' heads into the folder, or remove it; the heads' files."""
    labels = [choice.task.label for choice in choices]
    heads = [
        head if labels.count(head.task) == 1 else replace(head, file=f"{choice.run.name}.{head.file}")
        for choice in choices
        for head in parts[choice.shown].heads
    ]
    shown = listed([f"`{choice.run.name}:{choice.task.label}`" for choice in choices])
    try:
        title = f"{listed(labels)}, merged by {request.method}"
        write_beside(request.out, title, choices[0].run.base_path, shown, heads)
    except WorkspaceUnusable:
        shutil.rmtree(request.out, ignore_errors=True)
        raise
    return tuple(head.file for head in heads)


def merge_record(
    request: MergeRequest, choices: Sequence[Choice], weights: Sequence[float]
) -> dict[str, Any]:
    """How an adapter was merged and from what, as JSON values."""
    settings = settled_settings(request.method, request.settings)
    return {
        "method": request.method,
        "on": settings.on,
        "density": settings.density,
        "rank": settings.rank,
        "seed": settings.seed,
        "adapters": [
            {
                "run": choice.run.name,
                "task": choice.task.label,
                "weight": weight,
                "artifact": choice.run.stages[choice.position].artifact,
            }
            for choice, weight in zip(choices, weights, strict=True)
        ],
    }


def _scores(
    request: MergeRequest, loaded: LoadedRun, exams: Sequence[Exam], observer: Observer
) -> list[MergedScore]:
    """Of the folder as anybody would load it."""
    model = PeftModel.from_pretrained(loaded.model.unload(), request.out, adapter_name=ADAPTER_NAME)
    return [merged_score(exam, model, loaded.base.tokenizer, observer) for exam in exams]
