"""JSON in the schema that lori_cl.reports.record documents; several runs are a list."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lori_cl.reports.record import to_record
from lori_cl.reports.report import RunReport


def render(reports: Sequence[RunReport]) -> bytes:
    """One run's record, or the list of several."""
    records = [to_record(report) for report in reports]
    value = records[0] if len(records) == 1 else records
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode(errors="backslashreplace")  # half a character (a surrogate) is \\ud800 in JSON, too
