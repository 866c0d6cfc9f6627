"""Merge the adapters of several tasks into one standard PEFT folder, and score it."""

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
    resolve_settings,
    resolve_weights,
    save_peft,
    task_type_of,
)
from lori_cl.errors import InputError, WorkspaceUnusable
from lori_cl.evaluation.loaded_run import LoadedRun, load_run
from lori_cl.registry import Registry, Workspace
from lori_cl.reports.phrases import listed
from lori_cl.runtime import Progress
from lori_cl.serving.merge_request import MergeInput, MergeRequest, resolve_inputs
from lori_cl.serving.merge_scores import MergedScore, OwnScore, merged_score, own_score
from lori_cl.serving.model_card import Head, collect_heads, write_model_card
from lori_cl.serving.provenance import base_record


@dataclass(frozen=True)
class MergeOutcome:
    """The result of a merge."""

    request: MergeRequest
    inputs: Sequence[MergeInput]
    weights: Sequence[float]
    """One per input, as used."""
    rank: int
    truncation_error: float | None
    """Relative Frobenius error of factoring the merged ΔW; None if nothing was factored."""
    heads: tuple[str, ...]
    """File names of classification heads."""
    scores: Sequence[MergedScore]
    """One per input; empty if nothing was scored."""


@dataclass(frozen=True)
class _Part:
    weights: LoRAWeights
    heads: Sequence[Head]
    """The task's head, if it has one."""
    own_score: OwnScore | None


def merge_tasks(workspace: Workspace, request: MergeRequest, progress: Progress) -> MergeOutcome:
    """Merge the adapters of the tasks, write the folder, and score it if `request.evaluate` is set.

    A task contributes what its own stage trained; in a stacked run, only its own cells. The as_trained view
    of a later task contains the earlier tasks' cells too: merging both would count those twice.
    Nothing in the workspace changes.
    Raises: InputError; UnknownRun; UnknownTask; ModelError; RunConflict, if the base model has changed;
    ArtifactMissing; ArtifactDamaged; WorkspaceUnusable, if the folder cannot be written.
    """
    with workspace.read() as registry:
        inputs = resolve_inputs(registry, request)
        parts, loaded = _load_parts(workspace, registry, request, inputs, progress)
    adapters = [parts[each.name].weights for each in inputs]
    merged = merge(adapters, request.method, request.weights, request.settings)
    weights = resolve_weights(request.method, len(inputs), request.weights)
    if not merged.weights.nonzero:
        raise InputError(
            f"merged by {request.method} with the weights {', '.join(f'{w:g}' for w in weights)}, the "
            "adapter is zero everywhere and equals the base model; give other --weights"
        )
    if not merged.weights.finite:
        raise InputError(
            f"merged with the weights {', '.join(f'{w:g}' for w in weights)}, the adapter is too large for "
            "float32; give smaller --weights"
        )
    _write_adapter(request, inputs, weights, merged, loaded)
    heads = _write_model_card(request, inputs, weights, parts)
    own_scores = [own for each in inputs if (own := parts[each.name].own_score) is not None]
    return MergeOutcome(
        request=request,
        inputs=inputs,
        weights=weights,
        rank=next(iter(merged.weights.a.values())).shape[0],
        truncation_error=merged.truncation_error,
        heads=heads,
        scores=_merged_scores(request, loaded, own_scores, progress) if own_scores else [],
    )


def _load_parts(
    workspace: Workspace,
    registry: Registry,
    request: MergeRequest,
    inputs: Sequence[MergeInput],
    progress: Progress,
) -> tuple[Mapping[str, _Part], LoadedRun]:
    """Return the weights and own score of every input by name, and the last of the runs, loaded."""
    parts: dict[str, _Part] = {}
    loaded: LoadedRun | None = None
    for run in dict.fromkeys(each.run.name for each in inputs):
        loaded = None  # keep only one base model in memory
        loaded = load_run(workspace, registry, run)
        for each in inputs:
            if each.run.name == run:
                own = own_score(loaded, each.position, registry, progress) if request.evaluate else None
                heads = collect_heads(loaded, [each.task.label])
                parts[each.name] = _Part(own_weights(loaded, each.position), heads, own)
    assert loaded is not None, "a request names at least one task"
    return parts, loaded


def own_weights(loaded: LoadedRun, position: int) -> LoRAWeights:
    """Return what a task's own stage trained; without earlier tasks, unless the method overwrites them."""
    if loaded.method.overwrites:
        return loaded.weights([loaded.history[position]])
    return loaded.update(position)


def _write_adapter(
    request: MergeRequest,
    inputs: Sequence[MergeInput],
    weights: Sequence[float],
    merged: Merged,
    loaded: LoadedRun,
) -> None:
    run = inputs[0].run
    save_peft(
        request.out,
        merged.weights,
        run.base_path,
        run.base_revision,
        {"base": base_record(run), "merge": merge_record(request, inputs, weights)},
        fan_in_fan_out=is_transposed(loaded.model),
        task_type=task_type_of(loaded.base.model),
    )


def _write_model_card(
    request: MergeRequest,
    inputs: Sequence[MergeInput],
    weights: Sequence[float],
    parts: Mapping[str, _Part],
) -> tuple[str, ...]:
    """Write a README, `lori_cl.json` and the tasks' heads into the folder; return the head files.

    If that fails, the folder is removed.
    """
    labels = [each.task.label for each in inputs]
    heads = [
        head if labels.count(head.task) == 1 else replace(head, file=f"{each.run.name}.{head.file}")
        for each in inputs
        for head in parts[each.name].heads
    ]
    origin = listed([f"`{each.run.name}:{each.task.label}`" for each in inputs])
    try:
        title = f"{listed(labels)}, merged by {request.method}"
        record = merge_record(request, inputs, weights)
        provenance = {"base": base_record(inputs[0].run), "merge": record}
        write_model_card(request.out, title, origin, provenance, heads)
    except WorkspaceUnusable:
        shutil.rmtree(request.out, ignore_errors=True)
        raise
    return tuple(head.file for head in heads)


def merge_record(
    request: MergeRequest, inputs: Sequence[MergeInput], weights: Sequence[float]
) -> dict[str, Any]:
    """Return the settings and inputs of a merge as JSON values."""
    settings = resolve_settings(request.method, request.settings)
    return {
        "method": request.method,
        "on": settings.on,
        "density": settings.density,
        "rank": settings.rank,
        "seed": settings.seed,
        "adapters": [
            {
                "run": each.run.name,
                "task": each.task.label,
                "weight": weight,
                "artifact": each.run.stages[each.position].artifact,
            }
            for each, weight in zip(inputs, weights, strict=True)
        ],
    }


def _merged_scores(
    request: MergeRequest, loaded: LoadedRun, own_scores: Sequence[OwnScore], progress: Progress
) -> list[MergedScore]:
    """Score the written folder, loaded with PEFT."""
    model = PeftModel.from_pretrained(loaded.model.unload(), request.out, adapter_name=ADAPTER_NAME)
    return [merged_score(own, model, loaded.base.tokenizer, progress) for own in own_scores]
