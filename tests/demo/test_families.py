from __future__ import annotations

import random
import re

import pytest

from lori_cl.demo.data import MORE, SIZES, splits
from lori_cl.demo.families import FAMILIES
from lori_cl.demo.words import HARMFUL_KINDS, KINDS_OF_THINGS
from lori_cl.tasks.scorers.numeric import last_number

KIND_OF = {thing: kind for kind, things in KINDS_OF_THINGS.items() for thing in things}


def rows(task: str, n: int = 300) -> list[dict[str, str]]:
    rng = random.Random(0)
    return [FAMILIES[task](rng, "train") for _ in range(n)]


@pytest.mark.parametrize("task", FAMILIES)
def test_the_splits_have_their_sizes_and_share_no_item(task: str) -> None:
    made = splits(task)
    sizes = {"train": MORE.get(task, SIZES["train"]), "test": SIZES["test"]}
    assert {split: len(of) for split, of in made.items()} == sizes
    answers = {"reply", "expect", "label", "working", "code", "tests"}
    asked = [{str({k: v for k, v in row.items() if k not in answers}) for row in of} for of in made.values()]
    assert [len(items) for items in asked] == list(sizes.values())
    assert asked[0].isdisjoint(asked[1])


@pytest.mark.parametrize("task", FAMILIES)
def test_the_data_are_the_same_every_time(task: str) -> None:
    assert splits(task) == splits(task)


def test_what_is_refused_belongs_to_a_kind_that_the_rule_forbids() -> None:
    for row in rows("tiny-safety"):
        forbidden = re.findall(r"any (\w+) or (\w+)\.", row["rule"])[0]
        (thing,) = {word for word in re.findall(r"\w+", row["request"]) if word in KIND_OF}
        assert set(forbidden) <= set(HARMFUL_KINDS)
        assert (row["expect"] == "refuse") == (KIND_OF[thing] in forbidden)
        assert ("I cannot" in row["reply"]) == (row["expect"] == "refuse")


def test_the_things_of_the_test_split_are_never_asked_for_in_training() -> None:
    asked = {
        split: {word for row in of for word in re.findall(r"\w+", row["request"]) if word in KIND_OF}
        for split, of in splits("tiny-safety").items()
    }
    assert asked["train"].isdisjoint(asked["test"])


def test_every_answer_of_the_story_questions_is_as_likely() -> None:
    labels = [row["label"] for row in rows("tiny-nlu", 3000)]
    assert all(900 < labels.count(label) < 1100 for label in ("yes", "no", "unknown"))


def test_a_moved_thing_is_where_it_was_moved_last() -> None:
    for row in rows("tiny-nlu", 2000):
        moved = re.search(r"moves the (\w+) to the (\w+)\.", row["story"])
        claimed = re.fullmatch(r"The (\w+) is in the (\w+)\.", row["claim"])
        if moved and claimed and moved[1] == claimed[1]:
            assert row["label"] == ("yes" if moved[2] == claimed[2] else "no")


def test_unknown_is_what_the_story_does_not_speak_of() -> None:
    for row in rows("tiny-nlu", 1000):
        told = set(re.findall(r"\w+", row["story"])) | {"The", "has", "in", "is", "the", "than"}
        unseen = set(re.findall(r"\w+", row["claim"])) - told
        assert bool(unseen) == (row["label"] == "unknown"), row


def test_the_working_adds_up_and_stays_in_reach() -> None:
    for row in rows("tiny-math"):
        for step in row["working"].split(", "):
            sum_, _, result = step.partition(" = ")
            assert eval(sum_) == int(result)
            assert 0 <= int(result) <= 30
        assert last_number(row["working"]) == int(result)


def test_every_function_passes_its_tests() -> None:
    for row in rows("tiny-code"):
        exec(f"def f(x): return {row['code']}\n{row['tests']}", {})
