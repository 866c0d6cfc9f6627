"""When a retired task is active, and which of its input directions stay protected."""

from __future__ import annotations

from collections.abc import Sequence


def is_active_after(retired_after: int | None, stages: int) -> bool:
    """Whether a task is active after `stages` stages; it was retired after `retired_after` stages."""
    return retired_after is None or stages <= retired_after


def protected_stages(retired_after: Sequence[int | None]) -> list[int]:
    """Return positions, from 0, of the stages whose input directions later projections A must exclude.

    A stage stores only the directions that no earlier stage has. The directions of a retired stage therefore
    stay protected as long as a stage that was trained while they were protected is active. `retired_after`
    gives, for each stage, the number of committed stages when it was retired.
    """
    protected: list[set[int]] = []
    for position in range(len(retired_after) + 1):
        before = enumerate(retired_after[:position])
        active_stages = [stage for stage, after in before if is_active_after(after, position + 1)]
        protected.append({stage for each in active_stages for stage in (*protected[each], each)})
    return sorted(protected[-1])
