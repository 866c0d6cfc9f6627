"""A report as a file. A format is one file here that turns reports into bytes.

To add one: write the file, and its line below. Libraries that are slow to import are imported when drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from lori_cl.reports.formats import csv, figures, html, json, markdown
from lori_cl.reports.report import RunReport

FORMATS: Mapping[str, Callable[[Sequence[RunReport]], bytes]] = MappingProxyType(
    {
        "html": html.render,
        "md": markdown.render,
        "csv": csv.render,
        "json": json.render,
        "png": figures.png,
        "svg": figures.svg,
    }
)
"""By the name that `--format` takes, and a file's ending."""
