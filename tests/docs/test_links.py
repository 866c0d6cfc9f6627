from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.pages import DOCS, ROOT, line_of, prose, without_fences

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "paper" / "README.md", *DOCS]
INDEX = ROOT / "docs" / "README.md"
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
ABSOLUTE_URL = re.compile(r"[a-z][a-z0-9+.-]*:")


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    found: set[str] = set()
    for heading in HEADING.findall(without_fences(text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while (one := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(one)
    return found


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Yield 'LINE: LINK' of every relative link whose target does not exist."""
    text_without_code = prose(text)
    for found in LINK.finditer(text_without_code):
        target, _, anchor = unquote(found[1]).partition("#")
        if ABSOLUTE_URL.match(found[1]):
            continue
        file = page.parent / target if target else page
        if not file.exists() or (anchor and anchor not in anchors(_text_of(file, page, text))):
            yield f"{line_of(text_without_code, found.start())}: {found[1]}"


def _text_of(file: Path, page: Path, text: str) -> str:
    return text if file == page else file.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_and_anchor_resolves(page: Path) -> None:
    assert list(broken_links(page, page.read_text(encoding="utf-8"))) == []


def test_index_links_every_page_of_the_documentation() -> None:
    linked = set(LINK.findall(INDEX.read_text(encoding="utf-8")))
    assert [page.name for page in DOCS if page != INDEX and page.name not in linked] == []


def test_missing_file_and_missing_anchor_are_reported(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`: three\n")
    text = (
        "# One `two`: three\n[a](page.md#one-two-three) [b](#one-two-three) [c](https://example.org/x)\n"
        "[d](gone.md) [e](page.md#gone)\n```\n[f](gone.md)\n```\n`[g](gone.md)`\n"
    )
    assert list(broken_links(page, text)) == ["3: gone.md", "3: page.md#gone"]


def test_anchors_follow_the_rules_of_github() -> None:
    text = "# The baseline's rate\n## `kind: code` – at k\n## Twice\n## Twice\n```\n# no heading\n```\n"
    assert anchors(text) == {"the-baselines-rate", "kind-code--at-k", "twice", "twice-1"}
