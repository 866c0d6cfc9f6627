"""One self-contained HTML file without scripts, external fonts or images, for light and dark mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lori_cl.errors import one_line
from lori_cl.forgetting import METRICS
from lori_cl.reports import phrases
from lori_cl.reports.lineage import lineage_sections
from lori_cl.reports.report import RunReport
from lori_cl.reports.tables import metric_tables

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.runtime import LoopContext

FULL_HEAT = 0.2
"""Changes of at least this fraction have the full colour."""
SHOWN = [entry for entry in METRICS if entry.needs in ((), ("S",))]


def render(reports: Sequence[RunReport]) -> bytes:
    """Render the page. Text from specs is escaped, as are characters that change the text direction."""
    page = _environment().get_template("report.html")
    values = {"tables": metric_tables(reports), "notes": phrases.notes(reports), "metrics": SHOWN}
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
    environment.globals.update(phrases=phrases, heat=heat, shade=shade, lineage_sections=lineage_sections)
    return environment


def heat(change: float) -> str:
    """Return the colour intensity of a change as a CSS number from 0 to 1."""
    return f"{min(1.0, abs(change) / FULL_HEAT):.2f}"


def shade(segment: LoopContext) -> str:
    """Return the opacity of a task's segment of the capacity bar; later tasks are paler."""
    return f"{1 - 0.7 * segment.index0 / segment.length:.2f}"
