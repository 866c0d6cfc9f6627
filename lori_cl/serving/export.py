"""Export a trained task, or all trained tasks, as a standard PEFT LoRA folder or as merged weights."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel, load_peft_weights, set_peft_model_state_dict
from torch import Tensor

from lori_cl.adapters import check_writable, is_transposed, lora_layers, save_peft, task_type_of
from lori_cl.errors import ExportDiffers, InputError
from lori_cl.evaluation import LoadedRun
from lori_cl.methods import StageState
from lori_cl.model_traits import device_map_of, input_device, module_device
from lori_cl.models.base_model import LOADERS, load_base
from lori_cl.serving.gguf_lora import convert, manual_steps
from lori_cl.serving.merged_model import save_merged
from lori_cl.serving.model_card import FullWeights, collect_heads, write_model_card
from lori_cl.serving.provenance import base_record, provenance_of
from lori_cl.serving.run_sections import run_sections
from lori_cl.spec import ModelSpec, View

VERIFIED_EXAMPLES = 8
"""Number of eval examples per task whose outputs are compared."""


class Limits(NamedTuple):
    """Allowed differences between the outputs of a folder and of the run."""

    rounding: float
    """In float32, as a fraction of the largest output."""
    share: float
    """As a fraction of the adapter's effect on the outputs, both as Euclidean norms.

    Half precision rounds by far more than `rounding`. An adapter that is not active differs by the whole
    effect.
    """


LIMITS = Limits(rounding=1e-5, share=0.1)
"""The rounding is 84 times the last bit: what sums in another order can change over some dozen layers. On a
CPU the order of sums is the same, and the difference is 0."""

MERGED_LIMITS = Limits(rounding=1e-4, share=0.5)
"""Merging rounds every weight a second time. In half precision, this can take a part of a small effect."""


@dataclass(frozen=True)
class ExportResult:
    """The exported folder and its content."""

    folder: Path
    rank: int
    tasks: tuple[str, ...]
    """The exported tasks."""
    stacked_on: tuple[str, ...]
    """Earlier tasks whose cells are part of the adapter, because the task was trained on top of them."""
    heads: tuple[str, ...]
    """File names of classification heads."""
    largest_difference: float | None
    """Between the outputs of the folder and of the run; 0.0 means bitwise equal, None not compared."""
    merged: bool = False
    """Whether the folder has the base model's weights with the adapter merged in."""
    gguf: Path | None = None
    """The adapter as a GGUF LoRA; None if none was written."""
    gguf_steps: tuple[str, ...] = ()
    """The commands that write one, if it was requested and there is no converter."""


def export(
    loaded: LoadedRun,
    task: str | None,
    folder: Path,
    *,
    verify: bool = True,
    merged: bool = False,
    name: str | None = None,
) -> ExportResult:
    """Write the adapter of one task as trained, or of all trained tasks if `task` is None.

    With `merged`, the folder has the base model's weights with the adapter merged in. `name` is what the code
    in the README loads; None is the folder.

    Raises: UnknownTask; InputError, if the adapter is zero or the folder is not empty; WorkspaceUnusable;
    ExportDiffers, if the outputs of the folder differ from those of the run. The folder is removed then.
    """
    check_writable(folder)
    acting = loaded.acting(task)
    weights = loaded.weights(acting)
    label = None if task is None else loaded.history[loaded.position(task)].task
    if not weights.nonzero:
        raise InputError(
            f"the adapter of {label or 'the current view'} in run '{loaded.run.name}' is zero everywhere: "
            "the export would equal the base model; see lori-cl report"
        )
    exported = [each.task for each in acting] if label is None else [label]
    if merged:
        save_merged(folder, loaded.curriculum.model, loaded.base.architecture, weights)
    else:
        save_peft(
            folder,
            weights,
            loaded.run.base_path,
            loaded.run.base_revision,
            _metadata(loaded, label, acting),
            fan_in_fan_out=is_transposed(loaded.model),
            task_type=task_type_of(loaded.base.model),
        )
    try:
        heads = _write_model_card(loaded, folder, label, exported, merged=merged, name=name)
        difference = _verify_outputs(loaded, folder, exported, merged=merged) if verify else None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # its outputs were not verified
        raise
    rank = next(iter(weights.a.values())).shape[0]
    stacked_on = tuple(each.task for each in acting if each.task not in exported)
    return ExportResult(folder, rank, tuple(exported), stacked_on, heads, difference, merged)


def add_gguf(loaded: LoadedRun, done: ExportResult, converter: Path | None) -> ExportResult:
    """Convert an exported adapter to GGUF; without a converter, return the commands that do so.

    Raises: LoriError, if the converter fails. The folder is kept.
    """
    if converter is None:
        return replace(done, gguf_steps=manual_steps(loaded, done.folder))
    return replace(done, gguf=convert(loaded, done.folder, converter))


def _write_model_card(
    loaded: LoadedRun,
    folder: Path,
    label: str | None,
    exported: Sequence[str],
    *,
    merged: bool,
    name: str | None,
) -> tuple[str, ...]:
    """Write the README, `lori_cl.json` and the heads; return the file names of the heads."""
    heads = collect_heads(loaded, exported)
    provenance = provenance_of(loaded, View.CURRENT if label is None else View.AS_TRAINED, exported)
    dtype = loaded.curriculum.model.dtype
    full = FullWeights(LOADERS[loaded.base.architecture].__name__, dtype) if merged else None
    title, origin = f"{label or 'Everything learned'} of {loaded.run.name}", f"run `{loaded.run.name}`"
    content, sections = {**provenance, "merged": merged}, run_sections(loaded)
    write_model_card(folder, title, origin, content, heads, full, sections=sections, name=name)
    return tuple(head.file for head in heads)


def _metadata(loaded: LoadedRun, task: str | None, acting: Sequence[StageState]) -> Mapping[str, Any]:
    run = loaded.run
    artifacts = {state.task: state.artifact for state in loaded.history}
    return {
        "run": run.name,
        "view": "current" if task is None else "as_trained",
        "task": task,
        "stages": {each.task: artifacts[each.task] for each in acting},
        "base": base_record(run),
    }


def _verify_outputs(loaded: LoadedRun, folder: Path, tasks: Sequence[str], *, merged: bool) -> float:
    """Return the largest difference of any output between this model and a fresh one loaded from the folder.

    Raises: ExportDiffers, if the difference is larger than rounding.
    """
    batches = [_batch(loaded, task) for task in tasks]
    ours = [_outputs(loaded.model, batch) for batch in batches]
    theirs_model = _load_merged(loaded, folder) if merged else _load_with_peft(loaded, folder)
    theirs = [_outputs(theirs_model, batch) for batch in batches]
    if all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True)):
        return 0.0
    with loaded.model.disable_adapter():
        effect = _distance(ours, (_outputs(loaded.model, batch) for batch in batches))
    distance = _distance(ours, theirs)
    difference = _largest(one.float() - other.float() for one, other in zip(ours, theirs, strict=True))
    limits = MERGED_LIMITS if merged else LIMITS
    rounding = limits.rounding * _largest(ours) if ours[0].dtype == torch.float32 else math.inf
    if not (math.isfinite(distance) and distance <= limits.share * effect and difference <= rounding):
        how = "," if merged else " with PEFT,"
        raise ExportDiffers(
            f"{folder}: loaded{how} its outputs differ by up to {difference:g} (norm {distance:g}; the "
            f"effect of the adapter has norm {effect:g}); the folder was removed"
        )
    return difference


def _load_with_peft(loaded: LoadedRun, folder: Path) -> Any:
    base = load_base(loaded.curriculum.model, loaded.base.architecture).model
    device_map = device_map_of(base)
    if device_map is None:
        return PeftModel.from_pretrained(base, folder).to(input_device(base))
    del base.hf_device_map  # PEFT would spread the model again, in another way
    model = PeftModel.from_pretrained(base, folder, low_cpu_mem_usage=True)
    base.hf_device_map = device_map
    for layer in lora_layers(model).values():
        for part in (layer.lora_A, layer.lora_B):
            part.to_empty(device=module_device(layer.get_base_layer()))  # PEFT leaves some without memory
    set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"))
    return model


def _load_merged(loaded: LoadedRun, folder: Path) -> Any:
    spec = ModelSpec(path=str(folder.absolute()), dtype=loaded.curriculum.model.dtype)
    return load_base(spec, loaded.base.architecture).model


def _distance(ones: Iterable[Tensor], others: Iterable[Tensor]) -> float:
    """Return the Euclidean norm of all differences together."""
    pairs = zip(ones, others, strict=True)
    return math.hypot(*(float(torch.linalg.vector_norm(a.float() - b.float())) for a, b in pairs))


def _largest(tensors: Iterable[Tensor]) -> float:
    """Return the largest magnitude; NaN if any number is NaN."""
    return float(torch.stack([tensor.float().abs().max() for tensor in tensors]).max())


def _batch(loaded: LoadedRun, task: str) -> dict[str, Tensor]:
    eval_task = loaded.eval_tasks[loaded.position(task)]
    examples = eval_task.examples[:VERIFIED_EXAMPLES]
    return eval_task.prompt_batch(loaded.base.tokenizer, examples, input_device(loaded.model))


@torch.inference_mode()
def _outputs(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the first output of the base architecture: hidden states, or logits."""
    model.eval()
    outputs: Tensor = model(**batch)[0]
    return outputs
