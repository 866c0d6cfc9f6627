"""Site shapes of adapters without a model; masks need nothing else."""

from __future__ import annotations

from hypothesis import strategies as st

from lori_cl.masks.mask import Shapes

THOUSAND: Shapes = {"first": (60, 5), "second": (100, 5), "third": (40, 5)}
"""1,000 cells at three sites."""

shapes = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=4).map(
    lambda sizes: {f"site{number}": size for number, size in enumerate(sizes)}
)


def cells_of(shapes: Shapes) -> int:
    return sum(out * rank for out, rank in shapes.values())
