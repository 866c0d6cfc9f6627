"""What a retired task keeps from later ones, by which tasks were learned beside it."""

from __future__ import annotations

from itertools import product

import pytest

from lori_cl.registry import still_kept


@pytest.mark.parametrize(
    ("retired_after", "kept"),
    [
        ([], []),
        ([None, None], [0, 1]),
        ([1], []),  # nobody was learned beside it
        ([1, None], [1]),  # retired before the second was learned
        ([2, None], [0, 1]),  # the second noted only what the first had not
        ([2, 2], []),
        ([None, 2, None], [0, 2]),
        ([2, 3, None], [0, 1, 2]),  # the third was learned beside the second, and that beside the first
        ([2, 2, None], [2]),
        ([1, 3, None], [1, 2]),
    ],
)
def test_a_retired_task_is_kept_while_one_stands_that_was_learned_beside_it(
    retired_after: list[int | None], kept: list[int]
) -> None:
    assert still_kept(retired_after) == kept


def test_whoever_stands_finds_all_that_it_was_learned_beside_and_time_only_takes_away() -> None:
    for retired_after in product([None, 1, 2, 3, 4], repeat=4):
        if any(after is not None and after <= stage for stage, after in enumerate(retired_after)):
            continue  # retired before it was learned
        now = still_kept(retired_after)
        for stage, after in enumerate(retired_after):
            if after is None:
                then = still_kept(
                    [a if a is not None and a <= stage else None for a in retired_after[:stage]]
                )
                assert {*then, stage} <= {*now}
