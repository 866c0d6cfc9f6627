r"""Replace Unicode and LaTeX notations of numbers with the plain ones that the grammar parses."""

from __future__ import annotations

import re
import unicodedata

LONGEST_TEXT = 20_000
"""Only this many characters at the end are parsed: the answer is there, and parsing takes time."""

_MINUS = dict.fromkeys(map(ord, "−‐‑‒–﹣－"), "-")
_SIGNS = {**_MINUS, **dict.fromkeys(map(ord, "×·⋅∙⨯"), "*"), **{ord("٫"): ".", ord("٬"): ","}}
_SUPERSCRIPTS = {"⁻": "-", "⁺": "+", "⁽": "(", "⁾": ")"} | {c: str(i) for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
_SUPERSCRIPT = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_VULGAR = re.compile("[¼-¾⅐-⅞↉]")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,100}>")
_DOLLARS = re.compile(r"(?<![\\$])\$(?!\$)([^$]{1,200})(?<!\\)\$")
_WORDS = re.compile(r"\\(?:text|mathrm|mathbf|mathit|textbf|operatorname|mbox|mathsf)\s*\{([^{}]*)\}")
_NOT_MATH = re.compile(r"[A-Za-z]{2,}")
_LATEX = (
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:left|right|displaystyle|bigl?|bigr|Bigl?|Bigr)(?![A-Za-z])"), ""),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,;:> ]|\\quad|\\qquad|~|\\[()\[\]]|\$\$|\*\*|`"), " "),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\\$"), "$"),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), "*"),
    (re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)"), "°"),
    (re.compile(r"\\(?:degree|circ)(?![A-Za-z])"), "°"),
    (re.compile(r"\\pi(?![A-Za-z])"), "π"),
    (re.compile(r"\\pm(?![A-Za-z])"), "±"),
    (re.compile(r"\\(?:le|leq|leqslant)(?![A-Za-z])"), "≤"),
    (re.compile(r"\\(?:ge|geq|geqslant)(?![A-Za-z])"), "≥"),
    (re.compile(r"\\(?:approx|sim|implies|rightarrow|Rightarrow|to)(?![A-Za-z])"), "="),
    (re.compile(r"(?:\\|\b)sqrt\s*(?=[\d{\[(])"), "√"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*(\d)\s*\{"), r"\\frac{\1}{"),
    (re.compile(r"(\\frac\s*\{[^{}]*\})\s*(\d)"), r"\1{\2}"),
)


def plain_text(text: str) -> str:
    r"""Return the plain notation of a text: '1 1/2 km^(2)' for '1½\,\text{km}²'."""
    text = _TAG.sub(" ", text[-LONGEST_TEXT:])
    text = _VULGAR.sub(_fraction, text)
    text = _SUPERSCRIPT.sub(lambda run: f"^({''.join(_SUPERSCRIPTS[c] for c in run[0])})", text)
    text = unicodedata.normalize("NFKC", text.translate(_SIGNS)).replace("⁄", "/").replace("’", "'")
    text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    text = _DOLLARS.sub(_math, _WORDS.sub(r"\1", text))
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    return re.sub(r"[ \t]+", " ", text)


def _fraction(found: re.Match[str]) -> str:
    """Return ' 1/2 ' for '½'; the space separates it from an integer before it."""
    return " " + unicodedata.normalize("NFKC", found[0]).replace("⁄", "/") + " "


def _math(found: re.Match[str]) -> str:
    """Remove the dollar signs if the text between them is a formula, not text between two prices."""
    commands_removed = re.sub(r"\\[A-Za-z]+", "", found[1])
    return found[0] if _NOT_MATH.search(commands_removed) and "=" not in found[1] else f" {found[1]} "
