"""The Markdown pages of the repository, and their prose without code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))

FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"(`+)(?:(?!`).)+?\1", re.DOTALL)


def without_fences(text: str) -> str:
    """Return the page without its code blocks; lines keep their numbers."""
    return FENCE.sub(_blank, text)


def prose(text: str) -> str:
    """Return the page without code blocks and code spans; lines keep their numbers."""
    return CODE_SPAN.sub(_blank, without_fences(text))


def line_of(text: str, position: int) -> int:
    """Return the line number of a position, counted from 1."""
    return text.count("\n", 0, position) + 1


def _blank(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n") or " "
