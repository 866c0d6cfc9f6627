"""JSON in the schema that lori_cl.reports.record documents; several runs are a list."""

from __future__ import annotations

from collections.abc import Sequence

from lori_cl.reports.record import to_record
from lori_cl.reports.report import RunReport
from lori_cl.strict_json import encoded


def render(reports: Sequence[RunReport]) -> bytes:
    """One run's record, or the list of several."""
    records = [to_record(report) for report in reports]
    value = records[0] if len(records) == 1 else records
    return f"{encoded(value, indent=2)}\n".encode()
