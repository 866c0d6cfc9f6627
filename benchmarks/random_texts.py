"""A classification task of random words, for benchmarks that need no data."""

from __future__ import annotations

import json
import random
from pathlib import Path

import yaml

WORDS = (
    "the",
    "parcel",
    "arrived",
    "late",
    "and",
    "broken",
    "again",
    "thanks",
    "for",
    "your",
    "quick",
    "help",
)
LABELS = ["good", "bad"]


def write_task(folder: Path, name: str, examples: int) -> Path:
    """Write a classification task whose texts have 40 to 200 words."""
    draw, data = random.Random(name), folder / name
    data.mkdir(parents=True)
    for split, n in (("train", examples), ("test", 64)):
        rows = [
            {
                "text": f"{split} {i} " + " ".join(draw.choices(WORDS, k=draw.randint(40, 200))),
                "label": draw.choice(LABELS),
            }
            for i in range(n)
        ]
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = folder / f"{name}.yaml"
    task = {"name": name, "kind": "classification", "source": {"local": name}, "labels": LABELS}
    file.write_text(yaml.safe_dump(task))
    return file
