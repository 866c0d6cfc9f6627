"""Eval examples that stand among the training examples: exactly, but for how they are set, or nearly.

- Exact: the same text and choices.
- Normalised: the same after NFKC, case folding, and without repeated spaces and punctuation. Operators, and
  points and commas inside numbers, stay: `3 * 4` is not `3 + 4`, and 1.5 is not 15.
- Near: at least NEAR of the word triples of the eval example stand in one training example. Triples that more
  than MOST_SHARED eval texts have in common, such as those of a prompt template, do not count.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lori_cl.tasks.examples import Example

NEAR = 0.8
MOST_SHARED = 20
FEWEST_TRIPLES = 3
"""A text of fewer word triples of its own is too short to be nearly another."""
MOST_TRIPLES = 2_000_000
"""Word triples of training examples that are looked up, so that it takes a few seconds at most."""

_PUNCTUATION = re.compile(r"[^\w\s+*/=<>^%|&~$#@\\-](?!\d)|_")


@dataclass(frozen=True)
class Duplicate:
    """An eval example, and the training example that it repeats."""

    held_out: Example
    train: Example


@dataclass(frozen=True)
class NearDuplicates:
    """Eval examples that are nearly a training example, and not the same one."""

    n: int
    first: Duplicate | None
    compared: int
    """Training examples that were looked at; fewer than there are where these are many and long."""


def normalised(text: str) -> str:
    """A text without what does not tell it from another."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_PUNCTUATION.sub(" ", folded).split())


def duplicates(train: Sequence[Example], held_out: Sequence[Example]) -> list[Duplicate]:
    """The eval examples that are training examples after normalisation, each with the first such."""
    seen: dict[tuple[str, ...], Example] = {}
    for example in train:
        seen.setdefault(_key(example), example)
    return [Duplicate(e, seen[key]) for e in held_out if (key := _key(e)) in seen]


def near_duplicates(train: Sequence[Example], held_out: Sequence[Example]) -> NearDuplicates:
    """Count the eval examples that are nearly a training example."""
    same = {id(found.held_out) for found in duplicates(train, held_out)}
    texts = {_joined(e): e for e in held_out if id(e) not in same}
    triples = [set(_triples(text)) for text in texts]
    shared = Counter(triple for of in triples for triple in of)
    index: dict[str, list[int]] = {}
    for i, of in enumerate(triples):
        for triple in of:
            if shared[triple] <= MOST_SHARED:
                index.setdefault(triple, []).append(i)
    own = Counter(i for of in index.values() for i in of)
    examples, found, budget, compared = list(texts.values()), dict[int, Example](), MOST_TRIPLES, 0
    for example in train:
        looked_up = set(_triples(_joined(example)))
        budget -= len(looked_up)
        if budget < 0:
            break
        compared += 1
        common = Counter(i for triple in looked_up for i in index.get(triple, ()))
        for i, n in common.items():
            if n >= NEAR * own[i] and own[i] >= FEWEST_TRIPLES:
                found.setdefault(i, example)
    first = min(found, default=None)
    duplicate = None if first is None else Duplicate(examples[first], found[first])
    return NearDuplicates(len(found), duplicate, compared)


def _key(example: Example) -> tuple[str, ...]:
    """Equal for examples that normalisation makes one; a text of signs alone stands for itself."""
    return tuple(normalised(text) or text for text in (example.text, *example.choices))


def _joined(example: Example) -> str:
    return " ".join(_key(example))


def _triples(text: str) -> Iterator[str]:
    words = text.split()
    return (" ".join(words[i : i + 3]) for i in range(len(words) - 2))
