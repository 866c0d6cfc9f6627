"""Write the data of the first example: two tasks with different labels for the same kind of sentences.

The labels of `mood` say whether a guest praises or complains, those of `topic` what the guest talks about. A
model that is trained on `topic` last, without protecting `mood`, forgets the difference between praise and
complaint. Nouns and judgements of the test sentences never occur in training sentences.
"""

import json
import random
from itertools import product
from pathlib import Path

NOUNS = {
    "food": ("soup bread omelette curry dessert pancakes salad porridge", "breakfast stew"),
    "room": ("bed carpet bathroom balcony wardrobe pillow window shower", "mattress ceiling"),
    "staff": ("waiter porter receptionist manager cook gardener cleaner bartender", "concierge maid"),
    "travel": ("bus taxi ferry train airport motorway station harbour", "tram platform"),
}
JUDGEMENTS = {
    "praise": (
        "lovely|excellent|a delight|better than we had hoped|worth every penny|not bad at all|"
        "simply wonderful|far from disappointing|the best of the week|anything but dull",
        "superb|hard to fault|a pleasant surprise|never a disappointment",
    ),
    "complaint": (
        "awful|a disaster|worse than we had feared|a waste of money|not good at all|simply dreadful|"
        "far from satisfying|the low point of the week|anything but pleasant|a let-down",
        "horrible|hard to forgive|an unpleasant surprise|never a pleasure",
    ),
}
FRAMES = (
    "The {noun} was {judgement}.",
    "We found the {noun} {judgement}.",
    "As for the {noun}, my sister called it {judgement}.",
    "On our second day the {noun} turned out to be {judgement}.",
    "If you ask me, the {noun} was {judgement}.",
    "Everyone in our group agreed that the {noun} was {judgement}.",
)
SIZES = {"train": 384, "test": 64}


def sentences(split: str) -> list[dict[str, str]]:
    """Return every sentence of a split with both of its labels."""
    side = 0 if split == "train" else 1
    return [
        {"text": frame.format(noun=noun, judgement=judgement), "topic": topic, "mood": mood}
        for topic, mood, frame in product(NOUNS, JUDGEMENTS, FRAMES)
        for noun in NOUNS[topic][side].split()
        for judgement in JUDGEMENTS[mood][side].split("|")
    ]


def main() -> None:
    """Write data/TASK/train.jsonl and data/TASK/test.jsonl next to this script."""
    for task, split in product(("mood", "topic"), SIZES):
        rows = random.Random(f"{task} {split}").sample(sentences(split), SIZES[split])
        file = Path(__file__).parent / "data" / task / f"{split}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"text": row["text"], "label": row[task]}) + "\n" for row in rows]
        file.write_text("".join(lines), encoding="utf-8")
        print(f"wrote {len(lines)} sentences to {file}")


if __name__ == "__main__":
    main()
