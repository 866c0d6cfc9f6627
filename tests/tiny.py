"""Tiny base models on disk, and tasks to train them on."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    T5Config,
    T5ForConditionalGeneration,
)

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


def make_t5(folder: Path) -> Path:
    """Save a T5 of one layer in each part, whose tokenizer ends a text with its end token."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=save_word_tokenizer(folder, VOCABULARY),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return _with_special_tokens(folder, "$A [EOS]")


def make_bart(folder: Path) -> Path:
    """Save a BART of one layer in each part; its tokenizer puts a text between [BOS] and [EOS]."""
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=save_word_tokenizer(folder, ["[BOS]", *VOCABULARY]),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=32,
        init_std=0.5,
        pad_token_id=0,
        bos_token_id=3,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    BartForConditionalGeneration(config).save_pretrained(folder)
    return _with_special_tokens(folder, "[BOS] $A [EOS]", bos_token="[BOS]")


def _with_special_tokens(folder: Path, template: str, **special: str) -> Path:
    """Make the saved tokenizer add special tokens around each text."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens(special)
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in template.split() if token != "$A"]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(template, special_tokens=ids)
    tokenizer.save_pretrained(folder)
    return folder


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
