"""The README and the classification heads next to an exported adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peft.utils import CONFIG_NAME
from safetensors import SafetensorError
from torch import Tensor

from lori_cl.adapters import save_tensors
from lori_cl.digest import canonical_json
from lori_cl.errors import WorkspaceUnusable, first_line, one_line
from lori_cl.evaluation import LoadedRun
from lori_cl.serving.merged_model import CONFIG
from lori_cl.serving.provenance import Provenance, provenance_lines, write_provenance

HEAD_FILE = "{task}.head.safetensors"

README = """# {title}

{content} `{base}`, written by lori_cl from {origin}.

```python
{code}
```

## Origin

{provenance}

`lori_cl.json` has the same as JSON.
{heads}{sections}"""

ADAPTER_CODE = """from peft import PeftModel
model = PeftModel.from_pretrained(base_model, "{folder}")"""

MERGED_CODE = """from transformers import {auto_class}, AutoTokenizer
model = {auto_class}.from_pretrained("{folder}", dtype="{dtype}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")"""

HUB_IMPORT = "from huggingface_hub import hf_hub_download\n"

HEADS = """
A classification head reads the mean of the last hidden states over the tokens that are not padding; `inputs`
is the output of the base model's tokenizer for texts, with `padding=True, return_tensors="pt"`:

```python
{imports}from safetensors.torch import load_file
from torch.nn.functional import linear
head, mask = load_file({load}), inputs["attention_mask"].unsqueeze(-1)
pooled = (model(**inputs).last_hidden_state.float() * mask).sum(1) / mask.sum(1)
logits = linear(pooled, head["weight"], head["bias"])  # labels: {labels}
```
"""


@dataclass(frozen=True)
class FullWeights:
    """How to load a folder with merged weights."""

    auto_class: str
    """The class of transformers."""
    dtype: str


@dataclass(frozen=True)
class Head:
    """A classification head to write."""

    file: str
    """Its file name."""
    task: str
    """The task's label."""
    labels: Sequence[str]
    state: Mapping[str, Tensor]


def collect_heads(loaded: LoadedRun, tasks: Sequence[str]) -> list[Head]:
    """Return the heads of the given trained tasks; tasks without a head are skipped."""
    found = []
    for task in tasks:
        position = loaded.position(task)
        head = loaded.history[position].head
        if head is not None:
            state = {name: t.detach().cpu().contiguous() for name, t in head.state_dict().items()}
            labels = list(loaded.eval_tasks[position].spec.labels)
            found.append(Head(HEAD_FILE.format(task=task), task, labels, state))
    return found


def write_model_card(
    folder: Path,
    title: str,
    origin: str,
    provenance: Provenance,
    heads: Sequence[Head],
    full: FullWeights | None = None,
    *,
    sections: str = "",
    name: str | None = None,
) -> None:
    """Write a README, `lori_cl.json` and the heads into the folder of an adapter, or of merged weights.

    `origin` names the runs that it comes from. `full` is None for an adapter. `sections` are further sections
    of the README. `name` is what the code in the README loads; None is the folder.

    Raises: WorkspaceUnusable, if it cannot be written.
    """
    try:
        for head in heads:
            metadata = {"task": head.task, "labels": list(head.labels)}
            beside = folder / (CONFIG_NAME if full is None else CONFIG)
            save_tensors(beside, head.file, head.state, metadata)
        loaded_from = name or folder
        head_sections = "".join(
            HEADS.format(
                imports="" if name is None else HUB_IMPORT,
                load=_load(name, folder, head.file),
                labels=one_line(canonical_json(list(head.labels))),
            )
            for head in heads
        )
        files = write_provenance(folder, provenance)
        text = README.format(
            title=title,
            content="A PEFT LoRA for" if full is None else "Full weights: a LoRA merged into",
            code=_code(loaded_from, full),
            base=provenance["base"]["path"],
            origin=origin,
            heads=head_sections,
            sections=sections,
            provenance="\n".join(provenance_lines(provenance, files)),
        )
        (folder / "README.md").write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise WorkspaceUnusable(f"{folder} cannot be written: {why}") from error


def _load(name: str | None, folder: Path, file: str) -> str:
    """Return the call that finds a head's file, in the folder or on the hub."""
    return f'"{folder}/{file}"' if name is None else f'hf_hub_download("{name}", "{file}")'


def _code(folder: Path | str, full: FullWeights | None) -> str:
    if full is None:
        return ADAPTER_CODE.format(folder=folder)
    return MERGED_CODE.format(folder=folder, auto_class=full.auto_class, dtype=full.dtype)
