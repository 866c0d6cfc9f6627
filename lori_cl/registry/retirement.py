"""When a retired task acts, and what it still keeps from the tasks after it."""

from __future__ import annotations

from collections.abc import Sequence


def acts_after(retired_after: int | None, stages: int) -> bool:
    """Whether a task still acts when so many stages are done; `retired_after` were when it was retired."""
    return retired_after is None or stages <= retired_after


def still_kept(retired_after: Sequence[int | None]) -> list[int]:
    """Positions, from 0, of the stages whose input directions the A's of later tasks keep out of.

    A stage notes only the directions that no stage before it had, so those of a retired one are kept for as
    long as a stage stands that was learned beside them. `retired_after` holds, stage by stage, how many were
    done when it was retired.
    """
    known: list[set[int]] = []
    for position in range(len(retired_after) + 1):
        before = enumerate(retired_after[:position])
        standing = [stage for stage, after in before if acts_after(after, position + 1)]
        known.append({stage for each in standing for stage in (*known[each], each)})
    return sorted(known[-1])
