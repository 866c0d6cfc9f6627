"""A forgetting matrix and its metrics, as a notebook shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lori_cl.forgetting import METRICS, ForgettingMatrix, Metric

if TYPE_CHECKING:
    import pandas as pd

TITLES = {entry.name: entry.title for entry in METRICS}


@dataclass(frozen=True)
class Matrix:
    """Each task's score after each stage, under one view; row 0 is the base model.

    Example:
        >>> from lori_cl.forgetting import Cell, ForgettingMatrix
        >>> cells = {(0, 0): Cell(0.25, 8), (1, 0): Cell(0.75, 8)}
        >>> Matrix(ForgettingMatrix.from_cells(["a"], "current", 1, cells)).to_pandas()["a"].tolist()
        [0.25, 0.75]
    """

    data: ForgettingMatrix
    """The scores, numbers of examples, standard errors and sources, as arrays."""

    def to_pandas(self) -> pd.DataFrame:
        """Scores as fractions, one row a stage, one column a task; NaN where a task was not evaluated."""
        import pandas as pd

        trained = self.data.tasks[: self.data.stages]
        stages = ["base", *(f"{i} {task}" for i, task in enumerate(trained, start=1))]
        index = pd.Index(stages, name="after stage")
        return pd.DataFrame(self.data.scores, index=index, columns=list(self.data.tasks))

    def _repr_html_(self) -> str:
        from html import escape

        table = (100 * self.to_pandas()).to_html(float_format="{:.1f}".format, na_rep="·")
        return f"<p>Scores in %, view <code>{escape(self.data.view)}</code></p>{table}"


class Metrics(Mapping[str, float | None]):
    """The metrics of a matrix by name: `metrics.bwt` is `metrics["bwt"]`; None where one is missing.

    docs/metrics.md has the formula and the source of each. `missing(name)` says why one is None.

    Example:
        >>> Metrics([Metric("bwt", -0.1, None)]).bwt
        -0.1
    """

    def __init__(self, metrics: list[Metric] | tuple[Metric, ...]) -> None:
        self._metrics = {metric.name: metric for metric in metrics}

    def __getitem__(self, name: str) -> float | None:
        return self._metrics[name].value

    def __getattr__(self, name: str) -> float | None:
        if name.startswith("_") or name not in self._metrics:
            raise AttributeError(f"no metric '{name}' (available: {', '.join(self._metrics)})")
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._metrics)

    def __len__(self) -> int:
        return len(self._metrics)

    def __repr__(self) -> str:
        return f"Metrics({dict(self)})"

    def missing(self, name: str) -> str | None:
        """Why a metric has no value; None where it has one."""
        return self._metrics[name].missing

    def to_pandas(self) -> pd.Series:
        """The values by name."""
        import pandas as pd

        return pd.Series(dict(self), dtype=float)

    def _repr_html_(self) -> str:
        named = self.to_pandas().rename(TITLES)
        return str(named.to_frame("value").to_html(float_format="{:.4f}".format, na_rep="–"))
