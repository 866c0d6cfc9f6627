"""One HTML file: no script, no font and no image from anywhere else, in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lori_cl.errors import one_line
from lori_cl.forgetting import METRICS
from lori_cl.reports import wording
from lori_cl.reports.lineage import lineage_sections
from lori_cl.reports.report import RunReport
from lori_cl.reports.tables import metric_tables

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.runtime import LoopContext

FULL_HEAT = 0.2
"""A change of so much, or more, has the full colour."""
SHOWN = [entry for entry in METRICS if entry.needs in ((), ("S",))]


def render(reports: Sequence[RunReport]) -> bytes:
    """The page; whatever comes from a spec is escaped, and what would turn its direction spelled out."""
    page = _environment().get_template("report.html")
    values = {"tables": metric_tables(reports), "notes": wording.notes(reports), "metrics": SHOWN}
    return page.render(reports=reports, **values).encode()


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # late: the terminal needs no templates

    environment = Environment(
        loader=PackageLoader("lori_cl.reports"),
        autoescape=True,
        finalize=lambda value: one_line(value) if isinstance(value, str) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(words=wording, heat=heat, shade=shade, lineage_sections=lineage_sections)
    return environment


def heat(change: float) -> str:
    """How strongly a change is coloured, from 0 to 1, as CSS takes it."""
    return f"{min(1.0, abs(change) / FULL_HEAT):.2f}"


def shade(segment: LoopContext) -> str:
    """How opaque a task's segment of the capacity bar is: the later, the paler."""
    return f"{1 - 0.7 * segment.index0 / segment.length:.2f}"
