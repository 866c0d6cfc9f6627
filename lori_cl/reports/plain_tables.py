"""Tables and lines for the terminal. Markup and control characters in names have no effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Column, Table
from rich.text import Text

from lori_cl.errors import one_line

LONGEST_HEADING = 12
"""Maximum width of a heading above a narrow column, in terminal cells; a longer heading is wrapped."""
GAP = 2
"""Terminal cells between two columns."""
MANY_ROWS = 200
"""Tables with at least this many rows are printed without rich, which needs a second for 2,000 rows."""

T = TypeVar("T", bound=Table)


class PlainTable(Table):
    """A table without a frame that truncates no value.

    A table of numbers that is wider than the terminal is printed in blocks of columns. Each block starts with
    the first column. In other tables, text is wrapped.
    """

    blocks = False
    """Whether the table is printed in blocks of columns if it is too wide."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table, or its blocks one below the other."""
        available_width = options.max_width
        widths = [_width(column, _longest_line, longest_heading=available_width) for column in self.columns]
        if len(self.rows) >= MANY_ROWS and _total_width(widths) <= available_width:
            yield from self._lines(widths, options)
        elif self.blocks and _total_width(widths) > available_width:
            yield from self._in_blocks(available_width)
        else:
            yield from super().__rich_console__(console, options)

    def _lines(self, widths: Sequence[int], options: ConsoleOptions) -> Iterator[Segment]:
        """Render rows of plain text as rich does, in a twentieth of the time."""
        columns = [[column.header, *column.cells] for column in self.columns]
        for number, row in enumerate(zip(*columns, strict=True)):
            aligned = [
                _aligned(_plain(cell), width, column.justify)
                for cell, width, column in zip(row, widths, self.columns, strict=True)
            ]
            line = (" " * GAP).join(aligned)
            yield Segment(f"{line}\n", Style.parse("bold") if number == 0 else None)
            if number == 0:
                yield Segment(("-" if options.ascii_only else "─") * _total_width(widths) + "\n")

    def _in_blocks(self, available_width: int) -> Iterator[RenderableType]:
        lines = [_width(column, _longest_line) for column in self.columns]
        words = [_width(column, _longest_word) for column in self.columns]
        first = lines[0]
        if _total_width([first, *words[1:]]) > available_width:
            first = min(first, max(LONGEST_HEADING, available_width // 3))
        fits = _total_width([first, *words[1:]]) <= available_width
        blocks = [list(range(len(words) - 1))] if fits else _blocks(lines[1:], available_width - first)
        for number, block in enumerate(blocks):
            if number:
                yield Text()
            if len(blocks) > 1:
                yield Text(f"columns {block[0] + 1}–{block[-1] + 1} of {len(lines) - 1}", "dim")
            yield self._part([0, *(j + 1 for j in block)], first)

    def _part(self, chosen: Sequence[int], first_width: int) -> Table:
        """Return a table of the chosen columns. The first column has the same width in every block."""
        table = _empty_table(Table)
        for j in chosen:
            column = self.columns[j]
            width = None if j else first_width
            table.add_column(column.header, justify=column.justify, overflow="fold", width=width)
        cells = [list(self.columns[j].cells) for j in chosen]
        for number, row in enumerate(self.rows):
            values = [of_column[number] for of_column in cells]
            table.add_row(*values, style=row.style, end_section=row.end_section)
        return table


def plain_table(titles: Sequence[str], *, numbers: int = 0, blocks: bool = False) -> Table:
    """Return an empty table whose last `numbers` columns are right-aligned.

    With `blocks`, or with numbers, it is printed in blocks of columns if it is too wide.
    """
    table = _empty_table(PlainTable)
    table.blocks = blocks or numbers > 0
    for i, heading in enumerate(titles):
        is_number = i >= len(titles) - numbers
        table.add_column(plain_text(heading), justify="right" if is_number else "left", overflow="fold")
    return table


def _empty_table(kind: type[T]) -> T:
    return kind(
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )


def _total_width(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _width(column: Column, measure: Callable[[str], int], *, longest_heading: int = LONGEST_HEADING) -> int:
    """Return the width that a column needs for its values; a longer heading is wrapped."""
    heading = min(longest_heading, measure(_plain(column.header)))
    return max(heading, *(measure(_plain(cell)) for cell in column.cells), 1)


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def _longest_line(text: str) -> int:
    return max(map(cell_len, text.splitlines()), default=0)


def _aligned(text: str, width: int, justify: str) -> str:
    space = " " * (width - cell_len(text))
    return space + text if justify == "right" else text + space


def _plain(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def _blocks(widths: Sequence[int], available_width: int) -> list[list[int]]:
    """Return the column positions of each block; a block has at least one column."""
    blocks: list[list[int]] = [[]]
    used = 0
    for j, width in enumerate(widths):
        if blocks[-1] and used + width + GAP > available_width:
            blocks.append([])
            used = 0
        blocks[-1].append(j)
        used += width + GAP
    return blocks


def plain_text(text: str, style: str = "", *, no_wrap: bool | None = None) -> Text:
    """Return the text without markup, with control characters escaped."""
    return Text(one_line(text), style, no_wrap=no_wrap)


def print_line(console: Console, line: str, style: str = "") -> None:
    """Print a line of text, wrapped at words."""
    console.print(plain_text(line, style))


def add_row(table: Table, *cells: str | Text, style: str = "") -> None:
    """Add a row of plain text. (rich would interpret a str as markup.)"""
    table.add_row(*(plain_text(cell) if isinstance(cell, str) else cell for cell in cells), style=style)
