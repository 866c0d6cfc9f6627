"""A tiny encoder and a tiny causal LM on disk, and tasks to train them on."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import BertConfig, BertModel

from lori_cl.testing import save_word_tokenizer, tiny_base_model

WORDS = ["red", "blue", "green", "round", "square", "flat", "small", "large", "wet", "dry"]


VOCABULARY = ["is", "it", *WORDS]


def make_encoder(folder: Path) -> Path:
    """Save a BERT of one layer with 6 sites; cells at rank 4: 4 × (16 · 4 + 32 + 16) = 448."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=save_word_tokenizer(folder, VOCABULARY),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def make_causal_lm(folder: Path) -> Path:
    """Save a Llama of one layer."""
    return tiny_base_model(folder, VOCABULARY)


def declare_task(
    declared: Path, name: str, labels: Sequence[str] = ("red", "blue"), n: int = 16, **fields: object
) -> Path:
    """Write a classification task: which of two words the text contains."""
    draw = random.Random(name)
    folder = declared / name
    folder.mkdir(parents=True, exist_ok=True)
    for split, begins, rows in (("train", "it is", n), ("test", "is it", 8)):  # the splits share no text
        lines = []
        for index in range(rows):
            label = labels[index % len(labels)]
            text = f"{begins} {draw.choice(WORDS[5:])} {label} {draw.choice(WORDS[5:])}"
            lines.append(json.dumps({"text": text, "label": label}) + "\n")
        (folder / f"{split}.jsonl").write_text("".join(lines))
    declaration = {
        "name": name,
        "kind": "classification",
        "source": {"local": name},
        "labels": list(labels),
        **fields,
    }
    file = declared / f"{name}.yaml"
    file.write_text(yaml.safe_dump(declaration))
    return file


def tiny_curriculum(encoder: Path, tasks: Sequence[str], /, **fields: object) -> dict[str, Any]:
    """Return a curriculum for the tiny encoder; keyword arguments replace fields."""
    masks = {} if fields.get("method", "lori") != "lori" else {"strategy": "random", "density": 0.1}
    return {
        "name": "tiny",
        "model": {"path": str(encoder)},
        "tasks": list(tasks),
        "adapter": {"rank": 4, "alpha": 8},
        "masks": masks,
        "train": {"epochs": 1, "batch_size": 8, "lr": 0.01, "max_length": 16},
        "eval": {"batch_size": 4},
        **fields,
    }
