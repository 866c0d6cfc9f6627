"""The documentation is plain technical English and uses none of the discouraged phrases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, line_of, prose

UNCHECKED = {
    "configuration.md",  # generated from docstrings in lori_cl/spec, which are not rewritten yet
}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(page for page in DOCS if page.name not in UNCHECKED)]

INSTEAD_OF = {
    "goes on with": "resumes",
    "go on with": "resume",
    "gone on with": "resumed",
    "lay a value": "override a config value",
    "lays a value": "overrides a config value",
    "nobody": "name who, or use the passive",
    "whoever": "name who",
    "anybody": "untrusted, or: any user",
    "told apart": "distinguished",
    "told from": "distinguished from",
    "tell apart": "distinguish",
    "stood on": "depends on",
    "stands on": "depends on",
    "take over": "import, or reuse",
    "takes over": "imports, or reuses",
    "taken over": "imported, or reused",
    "set aside": "held back",
    "sets aside": "holds back",
    "proved score": "cached score",
    "held against": "compared with",
    "what becomes of": "what happens to",
    "came of it": "the result",
    "comes of it": "the result",
    "for ever": "permanently",
    "be it": "whether, or: including",
    "stands beside": "is stored next to, or: appears next to",
    "stand beside": "are next to",
    "stands in": "is in",
    "stand in": "are in",
    "on and on": "repeatedly, or: on each task in turn",
    "all the same": "anyway",
    "once more": "again, or: a second time",
    "made-up": "fuzzed",
    "taught": "trained",
    "teach": "train",
    "teaches": "trains",
    "lesson": "training job",
    "the house": "the package",
    "rooms": "packages",
    "the words": "the terms",
    "blind to": "null-space, or: orthogonal to",
    "untruth": "mismatch",
    "is no number": "is not a finite number",
    "by what": "rewrite",
}
"""Phrase → what to write instead."""


def violations(text: str) -> Iterator[str]:
    """Yield 'line N: PHRASE (write: …)' for every discouraged phrase in the prose of a page, not its code."""
    text_without_code = prose(text)
    for phrase, better in INSTEAD_OF.items():
        words = r"\s+".join(map(re.escape, phrase.split()))
        for found in re.finditer(rf"\b{words}\b", text_without_code, re.IGNORECASE):
            yield f"line {line_of(text_without_code, found.start())}: '{phrase}' (write: {better})"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_documentation_uses_none_of_the_discouraged_phrases(page: Path) -> None:
    assert list(violations(page.read_text(encoding="utf-8"))) == []


def test_discouraged_phrase_is_found_across_a_line_break_but_not_in_code() -> None:
    text = "It goes\non with it.\n```\ngoes on with\n```\n`goes on with` is its output; maybe it is so.\n"
    assert list(violations(text)) == ["line 1: 'goes on with' (write: resumes)"]


def test_unchecked_pages_exist() -> None:
    assert {page.name for page in DOCS} >= UNCHECKED
