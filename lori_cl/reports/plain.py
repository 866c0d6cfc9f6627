"""Tables and lines for the terminal, in which no name is taken for markup, or obeyed by the terminal."""

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
"""Cells of a heading above a narrow column; a longer one is broken into lines."""
GAP = 2
"""Cells between two columns."""
MANY_ROWS = 200
"""Rows from which on a table is printed without rich, which takes a second for two thousand."""

T = TypeVar("T", bound=Table)


class PlainTable(Table):
    """A table without frame, in which no value is cut off.

    A table of numbers that is wider than the terminal is printed in blocks of columns, each of which begins
    with the first column. In another table, text is broken into lines.
    """

    blocks = False
    """Whether it is a table of numbers."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, or its blocks one below the other."""
        room = options.max_width
        widths = [_width(column, _longest_line, longest_heading=room) for column in self.columns]
        if len(self.rows) >= MANY_ROWS and _total(widths) <= room:
            yield from self._lines(widths, options)
        elif self.blocks and _total(widths) > room:
            yield from self._in_blocks(room)
        else:
            yield from super().__rich_console__(console, options)

    def _lines(self, widths: Sequence[int], options: ConsoleOptions) -> Iterator[Segment]:
        """What rich would print of rows of plain text, in a twentieth of the time."""
        columns = [[column.header, *column.cells] for column in self.columns]
        for number, row in enumerate(zip(*columns, strict=True)):
            aligned = [
                _aligned(_plain(cell), width, column.justify)
                for cell, width, column in zip(row, widths, self.columns, strict=True)
            ]
            line = (" " * GAP).join(aligned)
            yield Segment(f"{line}\n", Style.parse("bold") if number == 0 else None)
            if number == 0:
                yield Segment(("-" if options.ascii_only else "─") * _total(widths) + "\n")

    def _in_blocks(self, room: int) -> Iterator[RenderableType]:
        lines = [_width(column, _longest_line) for column in self.columns]
        words = [_width(column, _longest_word) for column in self.columns]
        first = lines[0]
        if _total([first, *words[1:]]) > room:
            first = min(first, max(LONGEST_HEADING, room // 3))
        fits = _total([first, *words[1:]]) <= room
        blocks = [list(range(len(words) - 1))] if fits else _blocks(lines[1:], room - first)
        for number, block in enumerate(blocks):
            if number:
                yield Text()
            if len(blocks) > 1:
                yield Text(f"columns {block[0] + 1}–{block[-1] + 1} of {len(lines) - 1}", "dim")
            yield self._part([0, *(j + 1 for j in block)], first)

    def _part(self, chosen: Sequence[int], first_width: int) -> Table:
        """A table of some columns, the first of them as wide as in every other part."""
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
    """An empty table; its last `numbers` columns are set to the right.

    With `blocks`, or with numbers, it is printed in blocks of columns where it is too wide.
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


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _width(column: Column, measure: Callable[[str], int], *, longest_heading: int = LONGEST_HEADING) -> int:
    """The cells that a column needs for its values; a longer heading takes several lines."""
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


def _blocks(widths: Sequence[int], room: int) -> list[list[int]]:
    """Positions of the columns, in as many blocks as are needed; each block holds at least one column."""
    blocks: list[list[int]] = [[]]
    used = 0
    for j, width in enumerate(widths):
        if blocks[-1] and used + width + GAP > room:
            blocks.append([])
            used = 0
        blocks[-1].append(j)
        used += width + GAP
    return blocks


def plain_text(text: str, style: str = "", *, no_wrap: bool | None = None) -> Text:
    """The text as it stands, control characters spelled out."""
    return Text(one_line(text), style, no_wrap=no_wrap)


def say(console: Console, line: str, style: str = "") -> None:
    """A line of text, wrapped by words."""
    console.print(plain_text(line, style))


def add_row(table: Table, *cells: str | Text, style: str = "") -> None:
    """Add a row; what a table is given as str would be read as markup."""
    table.add_row(*(plain_text(cell) if isinstance(cell, str) else cell for cell in cells), style=style)
