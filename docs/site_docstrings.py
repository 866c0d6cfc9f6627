"""griffe extension: docstrings as sections of the Google style, which the site shows as tables."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
RETURNS = re.compile(r"^Returns: (.+?)(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
RAISES = re.compile(r"^Raises: (.+?)(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
ERROR = re.compile(r"([A-Z]\w+)(?:: (.+?))?\.(?= [A-Z]|$)")


def in_sections(docstring: str) -> str:
    """Return a docstring with `Example:`, and one-line `Returns:` and `Raises:`, as Google sections.

    Example: "Raises: InputError: it is closed. SpecError." becomes a section with two errors.
    """
    docstring = EXAMPLE.sub("Examples:", docstring)
    docstring = RETURNS.sub(lambda found: f"Returns:\n    {' '.join(found[1].split())}", docstring)
    return RAISES.sub(_errors, docstring)


def _errors(found: re.Match[str]) -> str:
    text = " ".join(found[1].split())
    errors = ERROR.findall(text)
    if " ".join(f"{name}: {why}." if why else f"{name}." for name, why in errors) != text:
        return found[0]  # a sentence
    return "Raises:\n" + "\n".join(f"    {name}: {why or '–'}" for name, why in errors)


class Docstrings(griffe.Extension):  # type: ignore[misc]  # untyped where the extra `docs` is not installed
    """Rewrites the docstring of every object that is read."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None and not obj.is_alias:
            obj.docstring.value = in_sections(obj.docstring.value)
