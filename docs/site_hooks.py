"""mkdocs hook: links that leave docs/ name the file in the repository instead."""

from __future__ import annotations

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)\s]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace `[text](../path)` by the text and the path, because the site holds no file outside docs/.

    Example: `[Changes](../CHANGELOG.md)` becomes "Changes (`CHANGELOG.md` in the repository)".
    """
    return OUTSIDE.sub(_named, markdown)


def _named(found: re.Match[str]) -> str:
    text, path = found[1], found[2].rstrip("/")
    if path in text.replace("\n", " "):
        return text
    return f"{text} (`{path}` in the repository)"
