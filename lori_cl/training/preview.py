"""What a task will look like to a model, before anything is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lori_cl.spec import ModelSpec, load_task
from lori_cl.tasks import Example, check_answers, eval_set_warnings, kind_of, read_task
from lori_cl.training.base_model import load_tokenizer

SHOWN = 3
"""Examples of each split."""

UNCUT = 2**30
"""Tokens, more than any text has."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of a split's inputs, without what is to be written after them, under one tokenizer."""

    median: int
    longest: int
    truncated: int
    """How many will be cut, so that they fit into `max_length` with what is written after them."""
    max_length: int


@dataclass(frozen=True)
class Preview:
    """A split of a task that is not registered yet."""

    task: str
    split: str
    n: int
    first: Sequence[Example]
    lengths: Lengths | None
    """None where no model was named."""
    warnings: Sequence[str] = ()
    """What makes scores over an eval set say less than they seem to."""
    skipped: str | None = None
    """Which invalid rows of it were skipped, in words; None where there are none."""


def preview(file: Path, model: str | None, max_length: int) -> list[Preview]:
    """The task's splits: how many examples, the first ones rendered, and their lengths in tokens.

    Raises: SpecError; DataError, also where an answer leaves no room for its prompt; ModelError.
    """
    spec = load_task(file)
    tokenizer = None if model is None else load_tokenizer(ModelSpec(path=model))
    data = read_task(spec, file.parent)
    warnings = [*check_answers(spec, data.held_out, tokenizer), *eval_set_warnings(spec, data.held_out)]
    splits = ((spec.train.split, data.train, ()), (spec.eval.split, data.held_out, warnings))
    skipped = {each.split: each.words() for each in data.skipped}
    return [
        Preview(
            task=spec.name,
            split=split,
            n=len(examples),
            first=examples[:SHOWN],
            lengths=None if tokenizer is None else _lengths(spec, tokenizer, examples, max_length),
            warnings=warned,
            skipped=skipped.get(split),
        )
        for split, examples, warned in splits
    ]


def _lengths(spec: Any, tokenizer: Any, examples: Sequence[Example], max_length: int) -> Lengths:
    kind = kind_of(spec)
    counts = [len(kind.prompt_tokens(spec, tokenizer, e, UNCUT)) for e in examples]
    return Lengths(
        median=int(np.median(counts)),
        longest=max(counts),
        truncated=sum(kind.features(spec, tokenizer, e, max_length).truncated for e in examples),
        max_length=max_length,
    )
