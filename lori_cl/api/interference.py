"""How strongly each task's update acts on the inputs of earlier tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:  # these import torch or pandas
    import pandas as pd

    from lori_cl.serving.interference import TaskPair


@dataclass(frozen=True)
class Interference(Sequence["TaskPair"]):
    """Every pair of an earlier and a later task of a run.

    Example:
        >>> from lori_cl.serving.interference import TaskPair
        >>> pairs = Interference((TaskPair("a", "b", (), -0.1),))
        >>> len(pairs), pairs[0].change, pairs.rank_correlation
        (1, -0.1, None)
    """

    pairs: tuple[TaskPair, ...]

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's ρ of the pairs' ratio and the earlier task's loss of score.

        None if fewer than three pairs have both, or ρ is undefined.
        """
        from lori_cl.serving.interference import rank_correlation

        found = rank_correlation(self.pairs)
        return None if found is None else found[0]

    @overload
    def __getitem__(self, key: int) -> TaskPair: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[TaskPair, ...]: ...

    def __getitem__(self, key: int | slice) -> TaskPair | tuple[TaskPair, ...]:
        return self.pairs[key]

    def __iter__(self) -> Iterator[TaskPair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def to_record(self) -> dict[str, Any]:
        """The pairs with their sites, and the rank correlation, as JSON values."""
        return {"pairs": [pair.to_record() for pair in self.pairs], "spearman": self.rank_correlation}

    def to_pandas(self) -> pd.DataFrame:
        """One row a pair: earlier, later, ratio and change, as fractions."""
        import pandas as pd

        names = ["earlier", "later", "ratio", "change"]
        return pd.DataFrame([[getattr(pair, name) for name in names] for pair in self.pairs], columns=names)
