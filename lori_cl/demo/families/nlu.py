"""`tiny-nlu`: does a claim follow from a story of two or three sentences: yes, no, unknown."""

from __future__ import annotations

import random

from lori_cl.demo.words import (
    HARMFUL_KINDS,
    INDOORS,
    KINDS_OF_THINGS,
    NAMES,
    OUTDOORS,
    THINGS,
    plural,
    things_of,
)

Row = dict[str, str]

LABELS = ("yes", "no", "unknown")
CLAIMS = {
    "danger": "{name} carries something dangerous.",
    "place": "{name} is in the house now.",
    "number": "{name} owns more than ten {things}.",
}
"""By what they ask about; whether they follow depends on what the story tells of that, if anything."""


def row(rng: random.Random, split: str) -> Row:
    """One story with a claim, every answer as likely for every sort of claim."""
    label, asked, name = rng.choice(LABELS), rng.choice(list(CLAIMS)), rng.choice(NAMES)
    things = plural(rng.choice(THINGS))
    others = [aspect for aspect in CLAIMS if aspect != asked]
    told = rng.sample(others, rng.randint(1, 2))
    if label != "unknown":
        told = [asked, rng.choice(others)]
    rng.shuffle(told)
    story = []
    for aspect in told:
        true = label == "yes" if aspect == asked else rng.random() < 0.5
        story += _told(rng, split, aspect, true, name, things)
    if len(story) == 1:
        story.append(f"{name} is {rng.choice(('old', 'tall', 'fast', 'strong'))}.")
    claim = CLAIMS[asked].format(name=name, things=things)
    return {"story": " ".join(story), "claim": claim, "label": label}


def _told(rng: random.Random, split: str, aspect: str, true: bool, name: str, things: str) -> list[str]:
    """What the story says of an aspect, so that its claim is true or false."""
    match aspect:
        case "danger":
            kinds = [kind for kind in KINDS_OF_THINGS if (kind in HARMFUL_KINDS) == true]
            return [f"{name} carries a {rng.choice(things_of(rng.choice(kinds), split))}."]
        case "place":
            here, there = (INDOORS, OUTDOORS) if true else (OUTDOORS, INDOORS)
            goes = f"{name} goes to the {rng.choice(here)}."
            return [f"{name} is in the {rng.choice(there)}.", goes] if rng.random() < 0.3 else [goes]
    return [f"{name} owns {rng.randint(11, 29) if true else rng.randint(2, 10)} {things}."]
