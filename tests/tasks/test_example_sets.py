from __future__ import annotations

from pathlib import Path

import pytest

from lori_cl.errors import DataError
from lori_cl.tasks import eval_examples, train_examples

from .task_files import classification, write_rows


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """A folder with ten training examples and six test examples."""
    for split, n in (("train", 10), ("test", 6)):
        rows = [{"text": f"{split} {i}", "label": "positive"} for i in range(n)]
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    return tmp_path


def ids(data_folder: Path, limit: int | None, seed: int = 0) -> list[int]:
    return [example.id for example in train_examples(classification(), data_folder, limit, seed)]


def test_without_a_limit_all_training_examples_are_taken(data_folder: Path) -> None:
    assert ids(data_folder, None) == list(range(10))


@pytest.mark.parametrize("limit", [10, 11])
def test_limit_above_the_number_of_examples_takes_all(data_folder: Path, limit: int) -> None:
    assert ids(data_folder, limit) == list(range(10))


def test_limit_draws_that_many_distinct_examples(data_folder: Path) -> None:
    assert [len(set(ids(data_folder, limit))) for limit in (1, 4, 9)] == [1, 4, 9]


def test_same_seed_gives_the_same_sample(data_folder: Path) -> None:
    assert ids(data_folder, 4, seed=3) == ids(data_folder, 4, seed=3)


def test_different_seeds_give_different_samples(data_folder: Path) -> None:
    assert len({tuple(ids(data_folder, 4, seed)) for seed in range(8)}) > 4


def test_sample_keeps_the_order_of_the_file(data_folder: Path) -> None:
    assert all(ids(data_folder, 5, seed) == sorted(ids(data_folder, 5, seed)) for seed in range(5))


def test_larger_limit_includes_the_sample_of_a_smaller_one(data_folder: Path) -> None:
    assert set(ids(data_folder, 3)) < set(ids(data_folder, 6))


def test_sample_of_seed_0_is_the_same_on_every_machine(data_folder: Path) -> None:
    assert ids(data_folder, 4) == [1, 2, 3, 8]


def test_drawn_example_keeps_its_row_in_the_source(data_folder: Path) -> None:
    assert all(e.text == f"train {e.id}" for e in train_examples(classification(), data_folder, 4, seed=1))


def test_eval_limit_samples_by_the_task_seed_and_keeps_the_order(data_folder: Path) -> None:
    subsets = {
        tuple(
            example.id for example in eval_examples(classification(eval={"limit": 2}, seed=seed), data_folder)
        )
        for seed in range(20)
    }
    assert len(subsets) > 5  # of 15 pairs; the first examples of a sorted data set all have one label
    assert all(first < second for first, second in subsets)


def test_without_an_eval_limit_all_examples_are_scored(data_folder: Path) -> None:
    assert len(eval_examples(classification(), data_folder)) == 6


def test_eval_limit_above_the_number_of_examples_keeps_all(data_folder: Path) -> None:
    assert len(eval_examples(classification(eval={"limit": 100}), data_folder)) == 6


def test_split_names_are_configurable(data_folder: Path) -> None:
    task = classification(train={"split": "test"}, eval={"split": "train"})
    assert (len(train_examples(task, data_folder)), len(eval_examples(task, data_folder))) == (6, 10)


def test_invalid_row_in_the_eval_split_is_refused(data_folder: Path) -> None:
    write_rows(data_folder / "data" / "test.jsonl", [{"text": "a", "label": "positve"}])
    with pytest.raises(DataError, match=r"test\.jsonl, line 1: label 'positve' .* Did you mean 'positive'\?"):
        eval_examples(classification(), data_folder)
