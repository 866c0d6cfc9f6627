"""Find eval examples that are also training examples: exact, normalised or near duplicates.

- Exact: the same text and choices.
- Normalised: the same after NFKC, case folding, and removal of punctuation and repeated spaces. Operators,
  and points and commas in numbers, are kept: `3 * 4` is not `3 + 4`, and 1.5 is not 15.
- Near: one training example contains at least NEAR of the eval example's word triples. Triples that occur in
  more than MOST_SHARED eval texts, such as those of a prompt template, do not count.
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
"""A text with fewer word triples of its own is too short to be a near duplicate."""
MOST_TRIPLES = 2_000_000
"""Maximum number of word triples of training examples to look up, which takes a few seconds."""

_PUNCTUATION = re.compile(r"[^\w\s+*/=<>^%|&~$#@\\-](?!\d)|_")


@dataclass(frozen=True)
class Duplicate:
    """An eval example and the training example that it duplicates."""

    held_out: Example
    train: Example


@dataclass(frozen=True)
class NearDuplicates:
    """Eval examples that are near duplicates of a training example, but neither exact nor normalised ones."""

    n: int
    first: Duplicate | None
    compared: int
    """Number of training examples compared; less than all of them if MOST_TRIPLES is reached."""


def normalised(text: str) -> str:
    """Return the normalised text: NFKC, case folded, without punctuation and repeated spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_PUNCTUATION.sub(" ", folded).split())


def duplicates(train: Sequence[Example], held_out: Sequence[Example]) -> list[Duplicate]:
    """Return the eval examples that equal a training example after normalisation, with the first one."""
    seen: dict[tuple[str, ...], Example] = {}
    for example in train:
        seen.setdefault(input_key(example), example)
    return [Duplicate(e, seen[key]) for e in held_out if (key := input_key(e)) in seen]


def near_duplicates(train: Sequence[Example], held_out: Sequence[Example]) -> NearDuplicates:
    """Count the eval examples that are near duplicates of a training example."""
    same = {id(found.held_out) for found in duplicates(train, held_out)}
    texts = {_joined(e): e for e in held_out if id(e) not in same}
    triples = [set(_triples(text)) for text in texts]
    shared = Counter(triple for of_text in triples for triple in of_text)
    index: dict[str, list[int]] = {}
    for i, of_text in enumerate(triples):
        for triple in of_text:
            if shared[triple] <= MOST_SHARED:
                index.setdefault(triple, []).append(i)
    own = Counter(i for indices in index.values() for i in indices)
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


def input_key(example: Example) -> tuple[str, ...]:
    """Return the normalised text and choices; a text of punctuation only stays as it is."""
    return tuple(normalised(text) or text for text in (example.text, *example.choices))


def _joined(example: Example) -> str:
    return " ".join(input_key(example))


def _triples(text: str) -> Iterator[str]:
    words = text.split()
    return (" ".join(words[i : i + 3]) for i in range(len(words) - 2))
