"""Reports of several runs, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:  # these import numpy or pandas
    import pandas as pd

    from lori_cl.reports import RunReport, SeedStatistics


@dataclass(frozen=True)
class RunComparison(Sequence["RunReport"]):
    """The reports of several runs; every report format renders them side by side.

    Example:
        >>> import lori_cl as cl
        >>> both = cl.Workspace(".").compare("real-text-lori", "real-text-sequential-lora")
        >>> [report.run.method for report in both]
        ['lori', 'sequential-lora']
    """

    reports: tuple[RunReport, ...]

    @overload
    def __getitem__(self, key: int) -> RunReport: ...
    @overload
    def __getitem__(self, key: slice) -> RunComparison: ...

    def __getitem__(self, key: int | slice) -> RunReport | RunComparison:
        return RunComparison(self.reports[key]) if isinstance(key, slice) else self.reports[key]

    def __iter__(self) -> Iterator[RunReport]:
        return iter(self.reports)

    def __len__(self) -> int:
        return len(self.reports)

    def report(self, path: str | Path | None = None, format: str | None = None) -> bytes:
        """The report as a file's content; it is written to `path` where one is given.

        Args:
            path: Its suffix gives the format: .html, .md, .csv, .json, .png, .svg.
            format: The format's name; by default that of the suffix, or html.

        Raises: InputError: there is no such format. WorkspaceUnusable: the file cannot be written.
        """
        from lori_cl.api.reporting import write_report

        return write_report(self.reports, path, format)

    def to_records(self) -> list[dict[str, Any]]:
        """Each run's report as JSON values, in the schema of `lori_cl/reports/record.py`."""
        from lori_cl.reports import to_records

        return to_records(self.reports)

    @property
    def seed_statistics(self) -> SeedStatistics:
        """Mean and spread over runs that differ only in seed or task order, and paired comparisons."""
        from lori_cl.reports import seed_statistics

        return seed_statistics(self.reports)

    def to_pandas(self) -> pd.DataFrame:
        """One row a run and view, one column a metric; NaN where a metric is missing."""
        import pandas as pd

        rows = {
            (report.run.name, view.name): {metric.name: metric.value for metric in view.metrics}
            for report in self.reports
            for view in report.views
        }
        index = pd.MultiIndex.from_tuples(rows, names=["run", "view"])
        return pd.DataFrame(list(rows.values()), index=index, dtype=float)

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html(float_format="{:.4f}".format, na_rep="–"))
