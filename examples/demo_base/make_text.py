"""Generate the pre-training text of the demo's base model: simple English, lists, numbers and snippets.

Every document is about a small world of people, things and places. The demo's tasks use the same words, but
their questions, answer formats and labels do not occur in this text.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

from lori_cl.demo.words import COMPARATIVES, KINDS_OF_THINGS, NAMES, PLACES, THINGS, plural


def places(rng: random.Random) -> str:
    """Generate a story about things that are moved, and true, false and unfounded claims about them."""
    count = rng.randint(1, 3)
    people, spots = rng.sample(NAMES, 6), rng.sample(PLACES, count + 2)
    *things, unseen = rng.sample(THINGS, count + 1)
    where = dict(zip(things, spots, strict=False))
    sentences = [f"{people[i]} {rng.choice(('puts', 'leaves'))} the {thing} in the {place}."
            for i, (thing, place) in enumerate(where.items())]  # fmt: skip
    before = dict(where)
    if rng.random() < 0.4:
        thing, place = rng.choice(things), spots[count]
        before[thing], where[thing] = where[thing], place
        sentences.append(f"{rng.choice(people)} {rng.choice(('moves', 'takes'))} the {thing} to the {place}.")
    story = " ".join(sentences)
    if rng.random() < 0.2:
        sentences.append(f"{people[5]} tells it again: {story}")
    for _ in range(rng.randint(2, 5)):
        thing, speaker = rng.choice(things), rng.choice(people)
        wrong = rng.choice([s for s in (*where.values(), *before.values(), spots[-1]) if s != where[thing]])
        sentences.append(rng.choice((
            f"Where is the {thing}? In the {where[thing]}.",
            f"What is in the {where[thing]}? The {' and the '.join(t for t in things if where[t] == where[thing])}.",
            f"{speaker} says that the {thing} is in the {where[thing]}, and {speaker} is right.",
            f"{speaker} says that the {thing} is in the {wrong}, but {speaker} is wrong: in the {where[thing]}.",
            f"{speaker} says that the {unseen} is in the {wrong}, but {speaker} only guesses.",
        )))  # fmt: skip
    return " ".join(sentences)


def owners(rng: random.Random) -> str:
    """Generate a story about things that change owners."""
    people, (*things, unseen) = rng.sample(NAMES, 5), rng.sample(THINGS, rng.randint(2, 4))
    owner = dict(zip(things, people, strict=False))
    sentences = [f"{who} {rng.choice(('has', 'owns'))} the {thing}." for thing, who in owner.items()]
    rng.shuffle(sentences)
    before = dict.fromkeys(things, people[4])
    if rng.random() < 0.4:
        thing = rng.choice(things)
        taker = rng.choice([p for p in people if p != owner[thing]])
        sentences.append(rng.choice((
            f"{owner[thing]} gives the {thing} to {taker}.",
            f"{taker} gets the {thing} from {owner[thing]}.",
        )))  # fmt: skip
        before[thing], owner[thing] = owner[thing], taker
    story = " ".join(sentences)
    if rng.random() < 0.2:
        sentences.append(f"{rng.choice(NAMES)} tells it again: {story}")
    for _ in range(rng.randint(2, 5)):
        thing, speaker = rng.choice(things), rng.choice(people)
        wrong = rng.choice([p for p in (before[thing], *people[: len(things)]) if p != owner[thing]])
        sentences.append(rng.choice((
            f"Who has the {thing}? {owner[thing]}.",
            f"What does {owner[thing]} have? The {' and the '.join(t for t in things if owner[t] == owner[thing])}.",
            f"{speaker} says that {owner[thing]} has the {thing}, and {speaker} is right.",
            f"{speaker} says that {wrong} has the {thing}, but {speaker} is wrong: {owner[thing]}.",
            f"{speaker} says that {wrong} has the {unseen}, but {speaker} only guesses.",
        )))  # fmt: skip
    return " ".join(sentences)


def order(rng: random.Random) -> str:
    """Generate comparisons that order people."""
    count = rng.randint(2, 3)
    *row, stranger = rng.sample(NAMES, count + 1)
    more = rng.choice(COMPARATIVES)
    sentences = [f"{a} is {more} than {b}." for a, b in pairwise(row)]
    rng.shuffle(sentences)
    for _ in range(rng.randint(2, 5)):
        i, j = sorted(rng.sample(range(count), 2))
        speaker, known = rng.choice(NAMES), rng.choice(row)
        pair = rng.sample((known, stranger), 2)
        sentences.append(rng.choice((
            f"Who is {more}, {' or '.join(rng.sample((row[i], row[j]), 2))}? {row[i]}.",
            f"In order: {', '.join(row)}.",
            f"{speaker} says that {row[i]} is {more} than {row[j]}, and {speaker} is right.",
            f"{speaker} says that {row[j]} is {more} than {row[i]}, but {speaker} is wrong.",
            f"{speaker} says that {pair[0]} is {more} than {pair[1]}, but {speaker} only guesses.",
        )))  # fmt: skip
    return " ".join(sentences)


def kinds(rng: random.Random) -> str:
    """Generate statements about the kinds of things."""
    sentences = []
    for _ in range(rng.randint(2, 5)):
        kind = rng.choice(list(KINDS_OF_THINGS))
        thing, friend = rng.sample(KINDS_OF_THINGS[kind], 2)
        other = rng.choice([k for k in KINDS_OF_THINGS if k != kind])
        sentences.append(rng.choice((
            f"A {thing} is a {kind}.",
            f"The {thing} is a {kind}, and so is the {friend}.",
            f"The {thing} is a {kind} and not a {other}.",
            f"{kind.capitalize()}: {', '.join(rng.sample(KINDS_OF_THINGS[kind], 4))}.",
            f"What is a {thing}? It is a {kind}.",
            f"{rng.choice(NAMES)} looks at the {thing}. It is a {kind}.",
        )))  # fmt: skip
    return " ".join(sentences)


def rules(rng: random.Random) -> str:
    """Generate rules about things, and people who follow or break them."""
    banned = rng.sample(list(KINDS_OF_THINGS), rng.randint(1, 3))
    sentences = [rng.choice(("In this house there may be no {}.", "The sign says: no {}.", "The teacher allows no {}."))
            .format(" and no ".join(banned))]  # fmt: skip
    for who in rng.sample(NAMES, rng.randint(1, 3)):
        forbidden = rng.random() < 0.5
        kind = rng.choice(banned if forbidden else [k for k in KINDS_OF_THINGS if k not in banned])
        thing = rng.choice(KINDS_OF_THINGS[kind])
        end = rng.choice(
            (f"{who} must leave it outside.", f"{who} has to go away.")
            if forbidden else (f"{who} may come in with it.", f"{who} may keep the {thing}.")
        )  # fmt: skip
        sentences.append(f"{who} brings a {thing}. The {thing} is a {kind}, so {end}")
    return " ".join(sentences)


def sums(rng: random.Random) -> str:
    """Generate lines of arithmetic."""
    lines = []
    for _ in range(rng.randint(3, 7)):
        a, b = rng.randint(0, 30), rng.randint(1, 9)
        lines.append(rng.choice((
            f"{a} + {b} = {a + b}", f"{a + b} - {b} = {a}", f"{b} * {a % 10} = {b * (a % 10)}",
            f"{a} + {b} = {a + b}", f"{a + b} - {b} = {a}",
        )))  # fmt: skip
    return rng.choice((", ", "\n")).join(lines)


def counts(rng: random.Random) -> str:
    """Generate a story about a changing number of things."""
    place, thing, total = rng.choice(PLACES), rng.choice(THINGS), rng.randint(2, 25)
    sentences = [f"There are {total} {plural(thing)} in the {place}."]
    if rng.random() < 0.25:
        shelves, each = rng.randint(2, 6), rng.randint(2, 6)
        total = shelves * each
        sentences = [
            f"In the {place} are {shelves} shelves, and on every shelf are {each} {plural(thing)}. {shelves} * {each} = {total}."
        ]
    for _ in range(rng.randint(1, 3)):
        change, who = rng.randint(1, 9), rng.choice(NAMES)
        if total < change or (total < 30 and rng.random() < 0.5):
            sentences.append(
                f"{who} {rng.choice(('brings', 'adds', 'leaves'))} {change} more. {total} + {change} = {total + change}."
            )
            total += change
        else:
            sentences.append(
                f"{who} {rng.choice(('takes', 'carries off', 'hides'))} {change} of them. {total} - {change} = {total - change}."
            )
            total -= change
    sentences.append(f"Now there are {total} {plural(thing)} in the {place}.")
    return " ".join(sentences)


def numbers(rng: random.Random) -> str:
    """Generate text that counts, sorts or selects numbers."""
    start, step = rng.randint(0, 20), rng.randint(1, 5)
    listed = rng.sample(range(0, 30), rng.randint(3, 6))
    text = ", ".join(map(str, listed))
    return rng.choice((
        ", ".join(str(start + step * i) for i in range(8)),
        f"Numbers: {text}. Sorted: {', '.join(map(str, sorted(listed)))}.",
        f"Numbers: {text}. The largest is {max(listed)}, the smallest is {min(listed)}.",
        f"Numbers: {text}. The first is {listed[0]}, the last is {listed[-1]}, and there are {len(listed)} of them.",
    ))  # fmt: skip


def lists(rng: random.Random) -> str:
    """Generate shopping lists."""
    bag, others = rng.sample(THINGS, 3), rng.sample([t for k in KINDS_OF_THINGS.values() for t in k], 3)
    who, inside = rng.choice(NAMES), [*bag, *others]
    rng.shuffle(inside)
    return (
        f"{who}'s list: {', '.join(inside)}. Once more: {', '.join(inside)}. "
        f"Backwards: {', '.join(reversed(inside))}."
    )


def repeats(rng: random.Random) -> str:
    """Repeat a few words."""
    words = rng.sample([*NAMES, *THINGS, *PLACES], rng.randint(3, 8))
    return ", ".join(words * (40 // len(words)))


def talk(rng: random.Random) -> str:
    """Generate dialogues of people who help each other."""
    one, two = rng.sample(NAMES, 2)
    thing = rng.choice([t for k in KINDS_OF_THINGS.values() for t in k] + list(THINGS))
    verb = rng.choice(("find", "carry", "clean", "draw", "explain", "sell", "hide"))
    return rng.choice((
        f"{one} asks {two} to {verb} the {thing}. {two} is glad to {verb} the {thing}.",
        f"{one} says: please {verb} the {thing}. {two} says: I am happy to {verb} the {thing}.",
        f"{one} likes the {thing}. {two} says that {one} likes the {thing}. That is true: {one} likes the {thing}.",
        f"{one} cannot {verb} the {thing}, because {two} is not there to help. Later {two} comes to help with that.",
        f"Let me tell you about {one}. {one} wants to {verb} the {thing} in the {rng.choice(PLACES)}.",
    ))  # fmt: skip


EXPRESSIONS = ("sum({})", "max({})", "min({})", "len({})", "{}[0]", "{}[-1]")
SPOKEN = dict(zip(EXPRESSIONS, ("sum", "largest", "smallest", "length", "first", "last"), strict=True))


def snippets(rng: random.Random) -> str:
    """Generate short Python: functions, and expressions with their values."""
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    first, second = rng.choice("+-*"), rng.choice("+-*")
    value, items = rng.randint(-9, 20), rng.sample(range(-9, 20), rng.randint(2, 5))
    of_list = rng.choice(EXPRESSIONS)
    name, of_what = rng.choice((("n", str(value)), ("items", str(items))))
    inner = name if name == "n" else of_list.format(name)
    code = f"{inner} {first} {a}"
    if rng.random() < 0.5:
        code = f"({code}) {second} {b}" if second == "*" else f"{code} {second} {b}"
    shown = code.replace(name, of_what) if name == "n" else code
    result = eval(code, {name: eval(of_what)})  # safe: generated here
    return rng.choice((
        f"{name} = {of_what}\nprint({code})  # {result}",
        f">>> {shown}\n{result}" if name == "n" else f">>> {name} = {items}\n>>> {code}\n{result}",
        f"def g({name}):\n    return {code}\n\nprint(g({of_what}))  # {result}",
        f"def {SPOKEN[of_list]}(items):\n    return {of_list.format('items')}",
        f"g = lambda {name}: {code}\nassert g({of_what}) == {result}",
        f"{name} {_symbols(first)} {a}: {name} {first} {a}",
    ))  # fmt: skip


def _symbols(operation: str) -> str:
    return {"+": "plus", "-": "minus", "*": "times"}[operation]


DOCUMENTS = (
    *(places, places, places, owners, owners, order, order, repeats, repeats, lists),
    *(kinds, rules, rules, sums, sums, counts, counts, numbers, talk, snippets, snippets),
)


FIRST = (repeats, places, owners)
"""Generators of documents that train retrieval from the text; training on them first is faster overall."""


def documents(seed: int, first: int = 0) -> Iterator[str]:
    """Yield documents without end; the `first` ones train retrieval from the text."""
    rng = random.Random(seed)
    for _ in range(first):
        yield rng.choice(FIRST)(rng)
    while True:
        yield rng.choice(DOCUMENTS)(rng)
