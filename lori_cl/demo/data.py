"""Generated data of the demo's tasks. No item is in both splits."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

from lori_cl.demo.families import FAMILIES

SIZES = {"train": 1600, "test": 200}
MORE = {"tiny-nlu": 2400, "tiny-code": 2400}
"""Number of training rows of the tasks that need more training."""


def write_data(folder: Path) -> None:
    """Write FOLDER/TASK/train.jsonl and test.jsonl for every task."""
    for task in FAMILIES:
        for split, rows in splits(task).items():
            file = folder / task / f"{split}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def splits(task: str) -> Mapping[str, list[dict[str, str]]]:
    """Generate the rows of each split. Items of the test split are excluded from training."""
    test = list(_distinct(task, "test", set()))
    return {"train": list(_distinct(task, "train", {_item(row) for row in test})), "test": test}


def _distinct(task: str, split: str, taken: set[str]) -> Iterator[dict[str, str]]:
    rng, found = random.Random(f"{task} {split}"), set(taken)
    n = MORE.get(task, SIZES[split]) if split == "train" else SIZES[split]
    while len(found) < len(taken) + n:
        row = FAMILIES[task](rng, split)
        if _item(row) not in found:
            found.add(_item(row))
            yield row


def _item(row: Mapping[str, str]) -> str:
    """Return the input of a row, without its answer."""
    inputs = {"request", "story", "claim", "problem", "description"}
    return json.dumps({key: value for key, value in row.items() if key in inputs})
