"""Which retired stages stay protected, depending on the tasks that were trained while they were active."""

from __future__ import annotations

from itertools import product

import pytest

from lori_cl.registry import protected_stages


@pytest.mark.parametrize(
    ("retired_after", "protected"),
    [
        ([], []),
        ([None, None], [0, 1]),
        ([1], []),  # no later stage was trained on it
        ([1, None], [1]),  # retired before the second was trained
        ([2, None], [0, 1]),  # the second was trained while the first was active
        ([2, 2], []),
        ([None, 2, None], [0, 2]),
        ([2, 3, None], [0, 1, 2]),  # the third depends on the second, which depends on the first
        ([2, 2, None], [2]),
        ([1, 3, None], [1, 2]),
    ],
)
def test_retired_stage_is_protected_while_a_dependent_stage_is_active(
    retired_after: list[int | None], protected: list[int]
) -> None:
    assert protected_stages(retired_after) == protected


def test_active_stage_keeps_every_stage_that_was_protected_when_it_was_trained() -> None:
    for retired_after in product([None, 1, 2, 3, 4], repeat=4):
        if any(after is not None and after <= stage for stage, after in enumerate(retired_after)):
            continue  # retired before it was trained
        now = protected_stages(retired_after)
        for stage, after in enumerate(retired_after):
            if after is None:
                then = protected_stages(
                    [a if a is not None and a <= stage else None for a in retired_after[:stage]]
                )
                assert {*then, stage} <= {*now}
