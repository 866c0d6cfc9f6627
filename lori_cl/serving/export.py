"""A learned task, or everything learned, as an ordinary PEFT LoRA folder."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from lori_cl.adapters import check_writable, is_transposed, save_peft
from lori_cl.errors import ExportDiffers, InputError
from lori_cl.methods import Learned
from lori_cl.serving.beside import heads_of, write_beside
from lori_cl.training import LoadedRun
from lori_cl.training.base_model import load_base
from lori_cl.training.preparation import architecture_of

VERIFIED_EXAMPLES = 8
"""Eval examples of every task whose outputs are compared."""

ROUNDING = 1e-5
"""Of the largest output, in float32: 84 times its last bit, which sums in another order leave after some
dozen layers. On a CPU nothing is summed in another order, and the difference is 0."""

SHARE = 0.1
"""Of what the adapter changes the outputs by, in the Euclidean norm, that a difference may have. Half
precision rounds by far more than `ROUNDING`, and an adapter that does nothing differs by the whole."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    rank: int
    tasks: tuple[str, ...]
    """Those that it was written for."""
    beneath: tuple[str, ...]
    """Those learned before whose cells act in it, too, since the task was trained on top of them."""
    heads: tuple[str, ...]
    """Files of classification heads."""
    largest_difference: float | None
    """Between PEFT's outputs and ours, 0.0 being bitwise equality; None where nobody looked."""


def export(loaded: LoadedRun, task: str | None, folder: Path, *, verify: bool = True) -> Exported:
    """Write the adapter of one task as it was trained, or with None of everything learned.

    Raises: UnknownTask; InputError, if nothing would act, or the folder holds something; WorkspaceUnusable;
    ExportDiffers, if PEFT loads something else than what acts here; the folder is gone then.
    """
    check_writable(folder)
    acting = loaded.acting(task)
    weights = loaded.weights(acting)
    label = None if task is None else loaded.history[loaded.position(task)].learned.task
    if not weights.acts:
        raise InputError(
            f"the adapter of {label or 'the current view'} in run '{loaded.run.name}' is zero everywhere: "
            "exported, it would be the base model; look at lori-cl report"
        )
    told = [each.task for each in acting] if label is None else [label]
    base = loaded.run
    save_peft(
        folder,
        weights,
        base.base_path,
        base.base_revision,
        _metadata(loaded, label, acting),
        fan_in_fan_out=is_transposed(loaded.model),
    )
    try:
        heads = heads_of(loaded, told)
        title = f"{label or 'Everything learned'} of {base.name}"
        write_beside(folder, title, base.base_path, f"run `{base.name}`", heads)
        difference = _verified(loaded, folder, told) if verify else None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # nobody has seen it act
        raise
    rank = next(iter(weights.a.values())).shape[0]
    beneath = tuple(each.task for each in acting if each.task not in told)
    return Exported(folder, rank, tuple(told), beneath, tuple(head.file for head in heads), difference)


def _metadata(loaded: LoadedRun, task: str | None, acting: Sequence[Learned]) -> Mapping[str, Any]:
    run = loaded.run
    artifacts = {memory.learned.task: memory.artifact for memory in loaded.history}
    return {
        "run": run.name,
        "view": "current" if task is None else "as_trained",
        "task": task,
        "stages": {each.task: artifacts[each.task] for each in acting},
        "base": {"path": run.base_path, "revision": run.base_revision, "digest": run.base_digest},
    }


def _verified(loaded: LoadedRun, folder: Path, tasks: Sequence[str]) -> float:
    """The largest difference of any output between this model and a fresh base model under PEFT's loader.

    Raises: ExportDiffers, if it is more than rounding.
    """
    batches = [_batch(loaded, task) for task in tasks]
    ours = [_outputs(loaded.model, batch) for batch in batches]
    learned = loaded.run.tasks[: len(loaded.history)]
    base = load_base(loaded.curriculum.model, architecture_of(learned))
    theirs_model = PeftModel.from_pretrained(base.model, folder).to(loaded.model.device)
    theirs = [_outputs(theirs_model, batch) for batch in batches]
    if all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True)):
        return 0.0
    with loaded.model.disable_adapter():
        effect = _distance(ours, (_outputs(loaded.model, batch) for batch in batches))
    distance = _distance(ours, theirs)
    difference = _largest(one.float() - other.float() for one, other in zip(ours, theirs, strict=True))
    rounding = ROUNDING * _largest(ours) if ours[0].dtype == torch.float32 else math.inf
    if not (math.isfinite(distance) and distance <= SHARE * effect and difference <= rounding):
        raise ExportDiffers(
            f"{folder}: loaded by PEFT its outputs differ by up to {difference:g}, in all by {distance:g}, "
            f"and the adapter changes them by {effect:g}; it was removed again"
        )
    return difference


def _distance(ones: Iterable[Tensor], others: Iterable[Tensor]) -> float:
    """The Euclidean norm of all differences together."""
    pairs = zip(ones, others, strict=True)
    return math.hypot(*(float(torch.linalg.vector_norm(a.float() - b.float())) for a, b in pairs))


def _largest(tensors: Iterable[Tensor]) -> float:
    """The largest magnitude of any number; NaN where one is none."""
    return float(torch.stack([tensor.float().abs().max() for tensor in tensors]).max())


def _batch(loaded: LoadedRun, task: str) -> dict[str, Tensor]:
    question = loaded.questions[loaded.position(task)]
    examples = question.examples[:VERIFIED_EXAMPLES]
    return question.prompt_batch(loaded.base.tokenizer, examples, loaded.model.device)


@torch.inference_mode()
def _outputs(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """What the base architecture puts out first: hidden states, or logits."""
    model.eval()
    outputs: Tensor = model(**batch)[0]
    return outputs
