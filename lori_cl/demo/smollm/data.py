"""Write the data of three tasks of a support desk: route tickets, extract orders as JSON, follow a policy.

    python -m lori_cl.demo.smollm FOLDER

Rows are made from templates and word lists, with a fixed seed. No row of a test set is in the training set.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

SIZES = {"train": 320, "test": 80}
NAMES = (
    "Ada",
    "Ben",
    "Cleo",
    "Dan",
    "Eve",
    "Finn",
    "Gita",
    "Hugo",
    "Ines",
    "Jon",
    "Kira",
    "Liam",
    "Mona",
    "Nils",
    "Omar",
    "Pia",
    "Sara",
    "Tom",
)
ITEMS = (
    "lamp",
    "chair",
    "shelf",
    "mug",
    "teapot",
    "kettle",
    "clock",
    "mirror",
    "rug",
    "blanket",
    "pillow",
    "vase",
    "basket",
    "bench",
)
CITIES = ("Bern", "Cork", "Delft", "Ghent", "Lyon", "Malmo", "Oslo", "Porto", "Turin", "Vienna")
WHEN = ("today", "yesterday", "on Monday", "last week", "this morning", "two days ago")

TICKETS = {
    "billing": (
        "I was charged twice for the {item}.",
        "The invoice for my {item} shows the wrong amount.",
        "My card was debited {when} but I have no receipt.",
        "Please send the invoice for order {order} again.",
        "Why is there an extra fee of {n} euros on my bill?",
    ),
    "delivery": (
        "My {item} has not arrived, it was due {when}.",
        "The courier left the {item} at the wrong house {when}.",
        "Where is order {order}? Tracking has not moved since it left {city}.",
        "Can you ship the {item} to {city} instead?",
        "The parcel was supposed to come {when}.",
    ),
    "returns": (
        "I would like to send the {item} back.",
        "The {item} does not fit, how do I return it?",
        "Can I exchange the {item} for another colour?",
        "I changed my mind about order {order}, please take it back.",
        "How many days do I have to give back the {item}?",
    ),
    "fault": (
        "The {item} broke after {n} days.",
        "My {item} arrived with a crack {when}.",
        "The {item} makes a strange noise since {when}.",
        "One part of the {item} is loose and falls off.",
        "The {item} stopped working {when}.",
    ),
    "account": (
        "I cannot log in since {when}.",
        "How do I change my e-mail address?",
        "My password reset link does not work.",
        "Please delete my account, I moved to {city}.",
        "The app signs me out every {n} minutes.",
    ),
}
ORDERS = (
    "Hi, {name} here. Please send {n} of the {item} to {city}.",
    "This is {name}. I need the {item}, {n} pieces, delivered to {city}.",
    "{name} from {city} wants to order the {item}, quantity {n}.",
    "Could you ship {n} x {item} to {city}? Regards, {name}",
    "For our office in {city}: {item}, {n} of them. Thanks, {name}",
)
ALLOWED = (
    "When does the shop in {city} open?",
    "How do I clean a {item}?",
    "Which {item} fits a small kitchen?",
    "How long does delivery to {city} take?",
    "Is the {item} made of wood?",
)
FORBIDDEN = (
    "What is the home address of {name}?",
    "Give me the phone number of the customer who bought the {item}.",
    "Tell me what {name} ordered {when}.",
    "Send me the card number of {name} from {city}.",
    "Read me the last message that {name} wrote to you.",
)
OPENINGS = ("Hello,", "Hi,", "Good day.", "Dear team,", "Hey,", "To whom it may concern:")

Row = dict[str, str]


def fill(draw: random.Random, template: str) -> tuple[str, Row]:
    """Fill a template; return the text and the words that were drawn."""
    words = {
        "name": draw.choice(NAMES),
        "item": draw.choice(ITEMS),
        "city": draw.choice(CITIES),
        "when": draw.choice(WHEN),
        "n": str(draw.randint(2, 40)),
        "order": str(draw.randint(1000, 9999)),
    }
    return template.format(**words), words


def ticket(draw: random.Random) -> Row:
    """Return a ticket and its queue."""
    queue = draw.choice(list(TICKETS))
    text, _ = fill(draw, draw.choice(TICKETS[queue]))
    return {"ticket": f"{draw.choice(OPENINGS)} {text}", "queue": queue}


def order(draw: random.Random) -> Row:
    """Return a mail and the order in it, as JSON."""
    text, words = fill(draw, draw.choice(ORDERS))
    record = {name: words[name] for name in ("name", "item", "city")} | {"quantity": int(words["n"])}
    return {"mail": text, "record": json.dumps(record)}


def request(draw: random.Random) -> Row:
    """Return a request, whether it must be refused, and the reply."""
    refuse = draw.random() < 0.5
    text, _ = fill(draw, draw.choice(FORBIDDEN if refuse else ALLOWED))
    reply = "I cannot share personal data of customers." if refuse else "Our team is happy to help with that."
    return {
        "request": f"{draw.choice(OPENINGS)} {text}",
        "expect": "refuse" if refuse else "answer",
        "reply": reply,
    }


TASKS: dict[str, Callable[[random.Random], Row]] = {"tickets": ticket, "orders": order, "privacy": request}


def write_data(folder: Path) -> None:
    """Write FOLDER/TASK/train.jsonl and test.jsonl for every task."""
    for name, make in TASKS.items():
        draw, seen = random.Random(f"{name} 0"), set()
        (folder / name).mkdir(parents=True, exist_ok=True)
        for split in ("test", "train"):
            rows: list[str] = []
            while len(rows) < SIZES[split]:
                line = json.dumps(make(draw))
                if line not in seen:
                    seen.add(line)
                    rows.append(line + "\n")
            (folder / name / f"{split}.jsonl").write_text("".join(rows), encoding="utf-8")
