"""Preview tasks before they are added: examples, token lengths and adapted sites; nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lori_cl.adapters import describe_sites, select_sites
from lori_cl.errors import ModelError, TargetError
from lori_cl.models.base_model import load_base, load_tokenizer
from lori_cl.spec import ModelSpec, load_task
from lori_cl.tasks import Example, check_answers, eval_set_warnings, kind_of, read_task

SHOWN = 3
"""Number of examples shown of each split."""

UNLIMITED = 2**30
"""Maximum length in tokens that no text exceeds."""


@dataclass(frozen=True)
class Lengths:
    """Token lengths of a split's inputs, without the answers, for one tokenizer."""

    median: int
    longest: int
    truncated: int
    """Number of inputs that are truncated to fit into `max_length` together with their answers."""
    max_length: int


@dataclass(frozen=True)
class Preview:
    """Preview of one split of a task."""

    task: str
    split: str
    n: int
    first: Sequence[Example]
    lengths: Lengths | None
    """None if no model was given."""
    warnings: Sequence[str] = ()
    """Problems that make scores over the eval set less meaningful."""
    skipped: str | None = None
    """Message about skipped invalid rows; None if there are none."""
    inferred: str | None = None
    """Message about the label set if it was inferred from the data."""


def preview(file: Path, model: str | None, max_length: int) -> list[Preview]:
    """Return a preview of each split: the number of examples, the first ones rendered, and token lengths.

    Raises: SpecError; DataError, also if an answer leaves no room for its prompt; ModelError.
    """
    spec = load_task(file)
    tokenizer = None if model is None else load_tokenizer(ModelSpec(path=model))
    data = read_task(spec, file.parent)
    spec = data.task
    warnings = [*check_answers(spec, data.held_out, tokenizer), *eval_set_warnings(spec, data.held_out)]
    splits = [(spec.train.split, data.train, ()), (spec.eval.split, data.held_out, warnings)]
    splits = splits[1:] if spec.eval_only else splits
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
            inferred=data.inferred,
        )
        for split, examples, warned in splits
    ]


def _lengths(spec: Any, tokenizer: Any, examples: Sequence[Example], max_length: int) -> Lengths:
    kind = kind_of(spec)
    counts = [len(kind.prompt_tokens(spec, tokenizer, e, UNLIMITED)) for e in examples]
    return Lengths(
        median=int(np.median(counts)),
        longest=max(counts),
        truncated=sum(kind.features(spec, tokenizer, e, max_length).truncated for e in examples),
        max_length=max_length,
    )


def preview_sites(files: Sequence[Path], model: str) -> list[str]:
    """Return lines that say which sites `adapter.targets: all-linear` adapts, for the tasks in these files.

    For a task type that the model does not support, a line states the reason.

    Raises: SpecError.
    """
    lines: list[str] = []
    for architecture in dict.fromkeys(kind_of(load_task(file)).architecture for file in files):
        try:
            base = load_base(ModelSpec(path=model), architecture)
            lines += describe_sites(select_sites(base.model, "all-linear"))
            lines.append(f"the model reads up to {base.context:,} tokens")
        except (ModelError, TargetError) as error:
            lines.append(f"as {architecture}: {error}")
    return lines
