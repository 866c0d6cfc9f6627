"""Tables and lines for the terminal, in which no name is taken for markup."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


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
        table.add_column(Text(heading), justify="right" if i >= len(titles) - numbers else "left")
    return table


def say(console: Console, line: str, style: str = "") -> None:
    """A line of text, wrapped by words."""
    console.print(Text(line, style))


def add_row(table: Table, *cells: str | Text, style: str = "") -> None:
    """Add a row; what a table is given as str would be read as markup."""
    table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), style=style)
