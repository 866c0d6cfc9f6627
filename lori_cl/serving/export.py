"""A learned task, or everything learned, as an ordinary PEFT LoRA folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lori_cl.adapters import check_writable, lora_layers, save_peft
from lori_cl.digest import canonical_json
from lori_cl.errors import ExportDiffers, InputError, WorkspaceUnusable, one_line
from lori_cl.methods import Learned
from lori_cl.tasks import kind_of
from lori_cl.training import LoadedRun
from lori_cl.training.base_model import load_base
from lori_cl.training.preparation import architecture_of

VERIFIED_EXAMPLES = 8
"""Eval examples of every task whose outputs are compared."""

TOLERANCE = 0.01
"""Of the largest output: what half precision may make of sums in another order."""

HEAD_FILE = "{task}.head.safetensors"

README = """# {title}

A PEFT LoRA for `{base}`, written by lori_cl from run `{run}`.

```python
from peft import PeftModel
model = PeftModel.from_pretrained(base_model, "{folder}")
```
{heads}"""

HEADS = """
A classification head reads the mean of the last hidden states over the tokens that are no padding:

```python
from safetensors.torch import load_file
state = load_file("{folder}/{file}")
logits = torch.nn.functional.linear(pooled, state["weight"], state["bias"])  # labels: {labels}
```
"""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    rank: int
    tasks: tuple[str, ...]
    """Those whose cells act in it."""
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
    if not any(bool(weights.b[site].any()) and bool(weights.a[site].any()) for site in weights.b):
        raise InputError(
            f"the adapter of {task or 'the current view'} in run '{loaded.run.name}' is zero everywhere: "
            "exported, it would be the base model; look at lori-cl report"
        )
    told = [task] if task is not None else [each.task for each in acting]
    heads = {label: loaded.history[loaded.position(label)].head for label in told}
    base = loaded.run
    save_peft(
        folder,
        weights,
        base.base_path,
        base.base_revision,
        _metadata(loaded, task, acting),
        fan_in_fan_out=_transposed(loaded.model),
    )
    files = _write_heads(loaded, folder, {label: head for label, head in heads.items() if head is not None})
    difference = _verified(loaded, folder, told) if verify else None
    return Exported(folder, next(iter(weights.a.values())).shape[0], tuple(told), files, difference)


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


def _transposed(model: Any) -> bool:
    """Whether the sites hold their weights as GPT-2's Conv1D does."""
    return any(isinstance(layer.get_base_layer(), Conv1D) for layer in lora_layers(model).values())


def _write_heads(loaded: LoadedRun, folder: Path, heads: Mapping[str, nn.Module]) -> tuple[str, ...]:
    shown = ""
    files = []
    try:
        for label, head in heads.items():
            spec = loaded.questions[loaded.position(label)].spec
            file = HEAD_FILE.format(task=label)
            state = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
            labels = list(spec.labels)
            save_file(state, folder / file, {"lori_cl": canonical_json({"task": label, "labels": labels})})
            shown += HEADS.format(folder=folder, file=file, labels=one_line(canonical_json(labels)))
            files.append(file)
        run = loaded.run
        title = f"{', '.join(heads) or 'Everything learned'} of {run.name}"
        text = README.format(title=title, base=run.base_path, run=run.name, folder=folder, heads=shown)
        (folder / "README.md").write_text(text, encoding="utf-8")
    except OSError as error:
        raise WorkspaceUnusable(f"{folder} cannot be written: {error.strerror}") from error
    return tuple(files)


def _verified(loaded: LoadedRun, folder: Path, tasks: Sequence[str]) -> float:
    """The largest difference of any output between this model and a fresh base model under PEFT's loader."""
    batches = [_batch(loaded, task) for task in tasks]
    ours = [_outputs(loaded.model, batch) for batch in batches]
    learned = loaded.run.tasks[: len(loaded.history)]
    base = load_base(loaded.curriculum.model, architecture_of(learned))
    theirs_model = PeftModel.from_pretrained(base.model, folder).to(loaded.model.device)
    theirs = [_outputs(theirs_model, batch) for batch in batches]
    if all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True)):
        return 0.0
    difference = max(
        float((one.float() - other.float()).abs().max()) for one, other in zip(ours, theirs, strict=True)
    )
    scale = max(float(one.float().abs().max()) for one in ours)
    if difference > TOLERANCE * scale:
        shutil.rmtree(folder)
        raise ExportDiffers(
            f"{folder}: loaded by PEFT its outputs differ by {difference:g}, where they reach {scale:g}; "
            "it was removed again"
        )
    return difference


def _batch(loaded: LoadedRun, task: str) -> dict[str, Tensor]:
    question = loaded.questions[loaded.position(task)]
    kind = kind_of(question.spec)
    examples = question.examples[:VERIFIED_EXAMPLES]
    tokenizer = loaded.base.tokenizer
    fields = [kind.features(question.spec, tokenizer, e, question.max_length).fields for e in examples]
    batch = kind.collate(tokenizer, fields)
    return {name: batch[name].to(loaded.model.device) for name in ("input_ids", "attention_mask")}


@torch.inference_mode()
def _outputs(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """What the base architecture puts out first: hidden states, or logits."""
    model.eval()
    outputs: Tensor = model(**batch)[0]
    return outputs
