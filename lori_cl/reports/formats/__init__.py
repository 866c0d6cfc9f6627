"""Report formats. A format is one file here that renders reports as bytes.

To add one, write the file and add its line below. Slow imports belong in the function that needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lori_cl.plugins import Implementations
from lori_cl.reports.formats import csv, figures, html, json, markdown
from lori_cl.reports.report import RunReport

FORMATS = Implementations[Callable[[Sequence[RunReport]], bytes]](
    "lori_cl.report_formats",
    {
        "html": html.render,
        "md": markdown.render,
        "csv": csv.render,
        "json": json.render,
        "png": figures.png,
        "svg": figures.svg,
    },
    Callable,  # type: ignore[arg-type]  # isinstance accepts this class
)
"""Renderers by the name for `--format`, which is also the file extension."""
