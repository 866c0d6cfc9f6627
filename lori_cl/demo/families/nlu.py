"""`tiny-nlu`: whether a claim follows from a story of two or three sentences: yes, no or unknown."""

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
"""Claims by topic. The story decides the answer; it is unknown if the story does not mention the topic."""


def row(rng: random.Random, split: str) -> Row:
    """Generate a story with a claim. Every answer is equally likely for every topic."""
    label, claim_topic, name = rng.choice(LABELS), rng.choice(list(CLAIMS)), rng.choice(NAMES)
    things = plural(rng.choice(THINGS))
    others = [topic for topic in CLAIMS if topic != claim_topic]
    topics = rng.sample(others, rng.randint(1, 2))
    if label != "unknown":
        topics = [claim_topic, rng.choice(others)]
    rng.shuffle(topics)
    story = []
    for topic in topics:
        true = label == "yes" if topic == claim_topic else rng.random() < 0.5
        story += _sentences(rng, split, topic, true, name, things)
    if len(story) == 1:
        story.append(f"{name} is {rng.choice(('old', 'tall', 'fast', 'strong'))}.")
    claim = CLAIMS[claim_topic].format(name=name, things=things)
    return {"story": " ".join(story), "claim": claim, "label": label}


def _sentences(rng: random.Random, split: str, topic: str, true: bool, name: str, things: str) -> list[str]:
    """Return the sentences about a topic that make its claim true or false."""
    match topic:
        case "danger":
            kinds = [kind for kind in KINDS_OF_THINGS if (kind in HARMFUL_KINDS) == true]
            return [f"{name} carries a {rng.choice(things_of(rng.choice(kinds), split))}."]
        case "place":
            here, there = (INDOORS, OUTDOORS) if true else (OUTDOORS, INDOORS)
            goes = f"{name} goes to the {rng.choice(here)}."
            return [f"{name} is in the {rng.choice(there)}.", goes] if rng.random() < 0.3 else [goes]
    return [f"{name} owns {rng.randint(11, 29) if true else rng.randint(2, 10)} {things}."]
