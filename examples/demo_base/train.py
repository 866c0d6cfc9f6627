"""Pre-train the demo's base model: a Llama of 2.2 M parameters with its own tokenizer.

python examples/demo_base/train.py --out FOLDER
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from make_text import documents
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lori_cl.demo.demo import base_digest

# Small batches and many steps: the model learns retrieval in half the time that batches of 16 need.
BLOCK, BATCH = 128, 4
PEAK_LR, WARMUP_STEPS = 1e-3, 100
END, PAD = "<|end|>", "<|pad|>"


@dataclass(frozen=True)
class Cycle:
    """Warm-up, then cosine decay to 1 % of the peak, with a new optimizer; after Loshchilov & Hutter 2017."""

    steps: int
    seed: int
    """Seed of the documents."""
    first: int
    """Number of documents at the start that train retrieval from the text."""
    decays_from: int
    """The step at which the decay starts."""


CYCLES = (
    Cycle(steps=11_000, seed=2, first=14_000, decays_from=WARMUP_STEPS),
    Cycle(steps=6_000, seed=3, first=0, decays_from=0),
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of 1,024 tokens with single digits."""
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(islice(documents(seed=1), 20_000), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, model_max_length=256
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Create the model, initialized from seed 0."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=192,
        intermediate_size=448,
        num_hidden_layers=5,
        num_attention_heads=6,
        initializer_range=0.07,
        vocab_size=len(tokenizer),
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def blocks(tokenizer: PreTrainedTokenizerFast, cycle: Cycle) -> Iterator[torch.Tensor]:
    """Yield (BATCH, BLOCK) token ids of concatenated documents."""
    stream: list[int] = []
    source = documents(cycle.seed, cycle.first)
    while True:
        while len(stream) < BATCH * BLOCK:
            for ids in tokenizer(list(islice(source, 64)))["input_ids"]:
                stream += [*ids, tokenizer.eos_token_id]
        yield torch.tensor(stream[: BATCH * BLOCK]).view(BATCH, BLOCK)
        stream = stream[BATCH * BLOCK :]


def rate(step: int, cycle: Cycle) -> float:
    """Return the learning rate of a step."""
    done = max(0, step - cycle.decays_from) / (cycle.steps - cycle.decays_from)
    return PEAK_LR * min(1, (step + 1) / WARMUP_STEPS) * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, cycle: Cycle) -> None:
    """Train for one cycle."""
    start = time.perf_counter()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05, betas=(0.9, 0.98))
    for step, ids in enumerate(islice(blocks(tokenizer, cycle), cycle.steps)):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, cycle)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {loss.item():.3f}, {time.perf_counter() - start:.0f} s", flush=True)


def main() -> None:
    """Train the model, save it, and print its digest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer):,} tokens")
    tokenizer.save_pretrained(out)
    for cycle in CYCLES:
        train(model, tokenizer, cycle)
        model.half().save_pretrained(out)  # each cycle starts from the saved half-precision weights
        model.float()
    print(f"BASE_DIGEST = {base_digest(out)}")


if __name__ == "__main__":
    main()
