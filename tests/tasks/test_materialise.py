from __future__ import annotations

from pathlib import Path

import pytest

from lori_cl.errors import DataError
from lori_cl.tasks import eval_examples, train_examples

from .task_files import classification, write_rows


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder whose data are ten training and six test examples."""
    for split, n in (("train", 10), ("test", 6)):
        rows = [{"text": f"{split} {i}", "label": "positive"} for i in range(n)]
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    return tmp_path


def ids(beside: Path, limit: int | None, seed: int = 0) -> list[int]:
    return [example.id for example in train_examples(classification(), beside, limit, seed)]


def test_without_a_limit_all_training_examples_are_taken(beside: Path) -> None:
    assert ids(beside, None) == list(range(10))


@pytest.mark.parametrize("limit", [10, 11])
def test_a_limit_that_is_not_reached_takes_all(beside: Path, limit: int) -> None:
    assert ids(beside, limit) == list(range(10))


def test_a_limit_draws_so_many_different_examples(beside: Path) -> None:
    assert [len(set(ids(beside, limit))) for limit in (1, 4, 9)] == [1, 4, 9]


def test_the_same_seed_is_the_same_draw(beside: Path) -> None:
    assert ids(beside, 4, seed=3) == ids(beside, 4, seed=3)


def test_other_seeds_are_other_draws(beside: Path) -> None:
    assert len({tuple(ids(beside, 4, seed)) for seed in range(8)}) > 4


def test_a_draw_keeps_the_order_of_the_file(beside: Path) -> None:
    assert all(ids(beside, 5, seed) == sorted(ids(beside, 5, seed)) for seed in range(5))


def test_a_larger_limit_keeps_what_a_smaller_one_drew(beside: Path) -> None:
    assert set(ids(beside, 3)) < set(ids(beside, 6))


def test_the_draw_of_seed_0_is_the_same_on_every_machine(beside: Path) -> None:
    assert ids(beside, 4) == [1, 2, 3, 8]


def test_a_drawn_example_keeps_its_row_in_the_source(beside: Path) -> None:
    assert all(e.text == f"train {e.id}" for e in train_examples(classification(), beside, 4, seed=1))


def test_an_eval_limit_draws_by_the_tasks_seed_and_keeps_the_order(beside: Path) -> None:
    kept = {
        tuple(example.id for example in eval_examples(classification(eval={"limit": 2}, seed=seed), beside))
        for seed in range(20)
    }
    assert len(kept) > 5  # of 15 pairs; the first ones of a sorted data set are all of one label
    assert all(first < second for first, second in kept)


def test_without_an_eval_limit_all_are_scored(beside: Path) -> None:
    assert len(eval_examples(classification(), beside)) == 6


def test_an_eval_limit_above_what_is_there_keeps_all(beside: Path) -> None:
    assert len(eval_examples(classification(eval={"limit": 100}), beside)) == 6


def test_each_split_may_have_another_name(beside: Path) -> None:
    task = classification(train={"split": "test"}, eval={"split": "train"})
    assert (len(train_examples(task, beside)), len(eval_examples(task, beside))) == (6, 10)


def test_a_fault_in_the_eval_split_is_found(beside: Path) -> None:
    write_rows(beside / "data" / "test.jsonl", [{"text": "a", "label": "positve"}])
    with pytest.raises(DataError, match=r"test\.jsonl, line 1: label 'positve' .* Did you mean 'positive'\?"):
        eval_examples(classification(), beside)
