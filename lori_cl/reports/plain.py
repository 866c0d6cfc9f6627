"""Tables and lines for the terminal, in which no name is taken for markup, or obeyed by the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lori_cl.errors import one_line


def plain_table(titles: Sequence[str], *, numbers: int = 0) -> Table:
    """An empty table without frame; its last `numbers` columns are set to the right."""
    table = Table(
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for i, heading in enumerate(titles):
        table.add_column(plain_text(heading), justify="right" if i >= len(titles) - numbers else "left")
    return table


def plain_text(text: str, style: str = "", *, no_wrap: bool | None = None) -> Text:
    """The text as it stands, control characters spelled out."""
    return Text(one_line(text), style, no_wrap=no_wrap)


def say(console: Console, line: str, style: str = "") -> None:
    """A line of text, wrapped by words."""
    console.print(plain_text(line, style))


def add_row(table: Table, *cells: str | Text, style: str = "") -> None:
    """Add a row; what a table is given as str would be read as markup."""
    table.add_row(*(plain_text(cell) if isinstance(cell, str) else cell for cell in cells), style=style)
