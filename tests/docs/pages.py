"""The Markdown pages of the repository: their prose without code, and their code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))

FENCE = re.compile(r"^(?P<fence>```|~~~)(?P<language>[^\n]*)\n(?P<code>.*?)^(?P=fence)[^\n]*$", re.M | re.S)
CODE_SPAN = re.compile(r"(`+)(?:(?!`).)+?\1", re.DOTALL)
COMMENT = re.compile(r"<!-- ([^\n]*) -->\n\Z")


@dataclass(frozen=True)
class Block:
    """A code block of a page."""

    language: str
    """What follows the opening fence: `sh`, `python`, `yaml`, `text`, or nothing."""
    code: str
    line: int
    """The line of its first line of code, counted from 1."""
    comment: str
    """The HTML comment in the line above, or nothing."""
    output: str | None
    """The `text` block that directly follows a Python block: what the block prints."""


def blocks(text: str) -> list[Block]:
    """Return the code blocks of a page in order."""
    fences = list(FENCE.finditer(text))
    return [
        Block(
            language=found["language"].strip(),
            code=found["code"],
            line=line_of(text, found.start("code")),
            comment=above[1] if (above := COMMENT.search(text[: found.start()])) else "",
            output=_output(text, found, following),
        )
        for found, following in zip_longest(fences, fences[1:])
    ]


def _output(text: str, found: re.Match[str], following: re.Match[str] | None) -> str | None:
    if found["language"] != "python" or following is None or following["language"] != "text":
        return None
    return None if text[found.end() : following.start()].strip() else following["code"]


def without_fences(text: str) -> str:
    """Return the page without its code blocks; lines keep their numbers."""
    return FENCE.sub(_blank, text)


def prose(text: str) -> str:
    """Return the page without code blocks and code spans; lines keep their numbers."""
    return CODE_SPAN.sub(_blank, without_fences(text))


def line_of(text: str, position: int) -> int:
    """Return the line number of a position, counted from 1."""
    return text.count("\n", 0, position) + 1


def shell_lines(text: str) -> Iterator[str]:
    """Yield every line of the code blocks that may hold commands; continued lines are joined."""
    for block in blocks(text):
        if block.language in {"", "sh"}:
            yield from block.code.replace("\\\n", " ").splitlines()


def _blank(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n") or " "
