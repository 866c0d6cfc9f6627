"""The contract of a continual-learning method, as checks that any method's tests can run.

A plugin's test calls `check_method("my-method", tmp_path)`; it takes a few seconds on a CPU.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lori_cl.api.curriculum import Curriculum
from lori_cl.api.run import Run
from lori_cl.api.workspace import Workspace
from lori_cl.errors import SpecError
from lori_cl.methods import METHODS
from lori_cl.spec import EvalSpec, TrainSpec
from lori_cl.spec.in_memory import Classification

COLOURS = ("red", "blue", "green", "white")
TASKS = ("first", "second", "third")


WORDS = ("it", "is", "so", *TASKS, *COLOURS, *map(str, range(200)))
"""The words of the tasks that the checks train."""

CONTEXT = 32
"""Tokens that the tiny models read."""


def save_word_tokenizer(folder: Path, words: Sequence[str]) -> int:
    """Save a tokenizer with one token a word; returns the size of its vocabulary.

    The ids of padding, unknown words and the end are 0, 1 and 2.
    """
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[EOS]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        eos_token="[EOS]",
        model_max_length=CONTEXT,
    ).save_pretrained(folder)
    return len(vocabulary)


def tiny_base_model(folder: Path, words: Sequence[str] = WORDS) -> Path:
    """Save a random Llama of one layer and a tokenizer with one token a word; returns the folder."""
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=save_word_tokenizer(folder, words),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=32,
            max_position_embeddings=CONTEXT,
            pad_token_id=0,
            eos_token_id=2,
        )
    ).save_pretrained(folder)
    return folder


def check_method(name: str, folder: Path, **curriculum: Any) -> None:
    """Check the contract of the method of this name, on a tiny base model in the folder.

    The promises: the same seed gives the same bits; a resumed run equals an uninterrupted one; `activate`
    restores every earlier stage exactly; a stage's state survives saving and loading; and a setting that the
    method does not read is refused.

    Args:
        curriculum: Other fields of the curriculum, such as `adapter` or `settings`.

    Raises: AssertionError: a promise is broken; the message says which.
    """
    base = tiny_base_model(folder / "base")
    once = _trained(folder / "once", base, name, curriculum, *TASKS)
    again = _trained(folder / "again", base, name, curriculum, *TASKS)
    assert _stage_files(once) == _stage_files(again), f"{name}: the same seed gives other bits"
    resumed = _trained(folder / "resumed", base, name, curriculum, TASKS[0])
    for task in TASKS[1:]:
        resumed = resumed.extend(task, progress=False)
    assert _values(once) == _values(resumed), f"{name}: a resumed run differs from an uninterrupted one"
    _check_activation(name, once)
    _check_unread_settings(name, folder / "unread", base)


def _trained(folder: Path, base: Path, method: str, fields: Mapping[str, Any], *tasks: str) -> Run:
    workspace = Workspace(folder)
    workspace.add_task(*(_task(task) for task in TASKS))
    return workspace.run(_curriculum(base, method, tasks, fields), name="run", progress=False)


def _curriculum(base: Path, method: str, tasks: tuple[str, ...], fields: Mapping[str, Any]) -> Curriculum:
    train = TrainSpec(epochs=2, batch_size=4, max_length=16, lr=0.01)
    evaluation = EvalSpec(batch_size=4)
    small = {"adapter": {"rank": 4, "alpha": 8}, "train": train, "eval": evaluation}
    return Curriculum(model=base, tasks=tasks, method=method, **{**small, **fields})


def _task(name: str) -> Classification:
    def rows(start: int) -> list[dict[str, str]]:
        return [
            {"text": f"it is {name} {i} so {COLOURS[i % 4]}", "label": COLOURS[i % 4]}
            for i in range(start, start + 8)
        ]

    return Classification(name, train=rows(0), eval=rows(100), labels=list(COLOURS), prompt="{{ text }}")


def _stage_files(run: Run) -> list[str]:
    """Return the digest of every stage's artifact."""
    return [stage.artifact for stage in run.stages]


def _values(run: Run) -> str:
    """Return the digests of every stage's tensors, whatever their metadata says."""
    from lori_cl.adapters import tensors_digest
    from lori_cl.evaluation.stage_file import read_stage

    artifacts = run.workspace.storage.artifacts
    tensors = [read_stage(artifacts.get(stage.artifact, "safetensors"))[0] for stage in run.stages]
    return json.dumps([tensors_digest(sorted(each.items())) for each in tensors])


def _check_activation(name: str, run: Run) -> None:
    """Load the run twice: the same stages give the same logits, in any order of activation."""
    ids = torch.tensor([[3, 4, 6, 13, 5]])
    outputs: dict[str, torch.Tensor] = {}
    for order in (run.tasks, run.tasks[::-1]):
        loaded = run._load()
        for task in order:
            loaded.method.activate(loaded.acting(task))
            assert not any(p.requires_grad for p in loaded.model.parameters()), f"{name}: activate trains"
            with torch.no_grad():
                logits = loaded.model(input_ids=ids).logits
            before = outputs.setdefault(task, logits)
            assert torch.equal(before, logits), f"{name}: activate does not restore '{task}' exactly"


def _check_unread_settings(name: str, folder: Path, base: Path) -> None:
    read = METHODS.find(name).settings_class.reads()
    for field, value in {"adapter.grow": 4, "masks.density": 0.3, "settings.no_such_setting": 1}.items():
        section, _, key = field.partition(".")
        if field not in read:
            refusal = _refusal(folder, base, name, {section: {key: value}})
            assert key in refusal, f"{name}: {field} is not read, and not refused by name: {refusal!r}"


def _refusal(folder: Path, base: Path, method: str, fields: Mapping[str, Any]) -> str:
    """Return why a curriculum is refused; empty if it runs."""
    try:
        _trained(folder, base, method, fields, TASKS[0])
    except SpecError as error:
        return str(error)
    return ""
