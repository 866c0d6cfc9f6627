"""JSON in the schema documented in lori_cl.reports.record; several runs are a list."""

from __future__ import annotations

from collections.abc import Sequence

from lori_cl.reports.record import to_records
from lori_cl.reports.report import RunReport
from lori_cl.strict_json import dump_json


def render(reports: Sequence[RunReport]) -> bytes:
    """Render the record of one run, or the list of several."""
    records = to_records(reports)
    value = records[0] if len(records) == 1 else records
    return f"{dump_json(value, indent=2)}\n".encode()
