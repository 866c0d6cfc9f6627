from __future__ import annotations

import random
import re

import pytest

from lori_cl.demo.data import MORE, SIZES, splits
from lori_cl.demo.families import FAMILIES
from lori_cl.demo.words import HARMFUL_KINDS, INDOORS, KINDS_OF_THINGS
from lori_cl.tasks.scorers.numeric import last_number

KIND_OF = {thing: kind for kind, things in KINDS_OF_THINGS.items() for thing in things}


def rows(task: str, n: int = 300) -> list[dict[str, str]]:
    rng = random.Random(0)
    return [FAMILIES[task](rng, "train") for _ in range(n)]


@pytest.mark.parametrize("task", FAMILIES)
def test_splits_have_the_declared_sizes_and_share_no_item(task: str) -> None:
    made = splits(task)
    sizes = {"train": MORE.get(task, SIZES["train"]), "test": SIZES["test"]}
    assert {split: len(of) for split, of in made.items()} == sizes
    answers = {"reply", "expect", "label", "working", "code", "tests"}
    inputs = [{str({k: v for k, v in row.items() if k not in answers}) for row in of} for of in made.values()]
    assert [len(items) for items in inputs] == list(sizes.values())
    assert inputs[0].isdisjoint(inputs[1])


@pytest.mark.parametrize("task", FAMILIES)
def test_data_are_deterministic(task: str) -> None:
    assert splits(task) == splits(task)


def test_exactly_the_harmful_kinds_are_refused() -> None:
    for row in rows("tiny-safety"):
        (thing,) = {word for word in re.findall(r"\w+", row["request"]) if word in KIND_OF}
        assert (row["expect"] == "refuse") == (KIND_OF[thing] in HARMFUL_KINDS)
        assert ("I cannot" in row["reply"]) == (row["expect"] == "refuse")


def test_things_of_the_test_split_do_not_occur_in_training() -> None:
    inputs = {
        split: {word for row in of for word in re.findall(r"\w+", row["request"]) if word in KIND_OF}
        for split, of in splits("tiny-safety").items()
    }
    assert inputs["train"].isdisjoint(inputs["test"])


def test_labels_of_the_story_task_are_balanced() -> None:
    labels = [row["label"] for row in rows("tiny-nlu", 3000)]
    assert all(900 < labels.count(label) < 1100 for label in ("yes", "no", "unknown"))


def test_label_of_a_claim_follows_from_the_story() -> None:
    seen = set()
    for row in rows("tiny-nlu", 1500):
        story, claim = row["story"], row["claim"]
        carried = re.search(r"carries a (\w+)\.", story)
        places = re.findall(r"(?:is in|goes to) the (\w+)\.", story)
        owned = re.search(r"owns (\d+) ", story)
        if "dangerous" in claim:
            follows = KIND_OF[carried[1]] in HARMFUL_KINDS if carried else None
        elif "house" in claim:
            follows = places[-1] in INDOORS if places else None
        else:
            follows = int(owned[1]) > 10 if owned else None
        assert row["label"] == {True: "yes", False: "no", None: "unknown"}[follows], row
        seen.add((claim.split()[-2], row["label"]))
    assert len(seen) == 9  # every kind of claim with every label


def test_steps_of_the_math_task_are_correct_and_within_range() -> None:
    for row in rows("tiny-math"):
        for step in row["working"].split(", "):
            sum_, _, result = step.partition(" = ")
            assert eval(sum_) == int(result)
            assert 0 <= int(result) <= 30
        assert last_number(row["working"]) == int(result)


def test_code_answers_pass_their_tests() -> None:
    for row in rows("tiny-code"):
        assert row["tests"].count("assert") == 3
        exec(f"def f(x): return {row['code']}\n{row['tests']}", {})
