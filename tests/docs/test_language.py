"""The documentation is plain technical English and uses none of the discouraged phrases."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, line_of, prose

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS]
SOURCES = sorted(file for file in (ROOT / "lori_cl").rglob("*.py") if "demo" not in file.parts)
"""The demo's modules hold the words of generated examples."""

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

OF_SOURCES = {phrase: better for phrase, better in INSTEAD_OF.items() if phrase != "the words"}
"""A label has words, which a causal language model scores: there the phrase is literal."""


def violations(text: str, phrases: Mapping[str, str] = INSTEAD_OF) -> Iterator[str]:
    """Yield 'line N: PHRASE (write: …)' for every discouraged phrase in the prose of a page, not its code."""
    text_without_code = prose(text)
    for phrase, better in phrases.items():
        words = r"\s+".join(map(re.escape, phrase.split()))
        for found in re.finditer(rf"\b{words}\b", text_without_code, re.IGNORECASE):
            yield f"line {line_of(text_without_code, found.start())}: '{phrase}' (write: {better})"


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of every docstring, help text and message; names of one word are none."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, node.value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_documentation_uses_none_of_the_discouraged_phrases(page: Path) -> None:
    phrases = OF_SOURCES if page.name == "configuration.md" else INSTEAD_OF  # generated from docstrings
    assert list(violations(page.read_text(encoding="utf-8"), phrases)) == []


def test_docstrings_help_and_messages_use_none_of_the_discouraged_phrases() -> None:
    found = [
        f"{file.relative_to(ROOT)}, text at line {line}: {problem}"
        for file in SOURCES
        for line, text in texts(file.read_text(encoding="utf-8"))
        for problem in violations(text, OF_SOURCES)
    ]
    assert found == []


def test_phrases_are_found_in_docstrings_messages_and_help_but_not_in_names() -> None:
    source = (
        'def f():\n    """It is\ntaught."""\n'
        '    raise E(f"{x} is set aside")\n'
        'option(help="Teach it.")\n"taught"\n'
    )
    found = [(line, problem.split("'")[1]) for line, text in texts(source) for problem in violations(text)]
    assert sorted(found) == [(2, "taught"), (4, "set aside"), (5, "teach")]


def test_discouraged_phrase_is_found_across_a_line_break_but_not_in_code() -> None:
    text = "It goes\non with it.\n```\ngoes on with\n```\n`goes on with` is its output; maybe it is so.\n"
    assert list(violations(text)) == ["line 1: 'goes on with' (write: resumes)"]
