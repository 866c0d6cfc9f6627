"""`tiny-math`: word problems of one or two steps, answered with the working."""

from __future__ import annotations

import random

from lori_cl.demo.words import NAMES, THINGS, plural

Row = dict[str, str]

MORE = ("buys {} more", "finds {} more", "picks up {} more", "wins {} more")
FEWER = ("gives away {}", "loses {}", "sells {}", "breaks {}")


def row(rng: random.Random, split: str) -> Row:
    """Generate one problem."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    total = rng.randint(2, 20)
    start = f"{name} has {total} {plural(thing)}."
    working, steps = [], []
    if rng.random() < 0.25:
        boxes, each = rng.randint(2, 5), rng.randint(2, 5)
        total = boxes * each
        start = f"{name} has {boxes} boxes with {each} {plural(thing)} each."
        working = [f"{boxes} * {each} = {total}"]
    for _ in range(rng.choice((1, 2)) - len(working)):
        change = rng.randint(1, 9)
        more = total < change or (total + change <= 30 and rng.random() < 0.5)
        after = total + change if more else total - change
        steps.append(rng.choice(MORE if more else FEWER).format(change))
        working.append(f"{total} {'+' if more else '-'} {change} = {after}")
        total = after
    events = f" {name} {' and '.join(steps)}." if steps else ""
    return {
        "problem": f"{start}{events} How many {plural(thing)} does {name} have?",
        "working": ", ".join(working),
    }
