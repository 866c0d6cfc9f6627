"""Writing a generated page, or checking that it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path


def write_or_check(page: Path, wanted: str, script: str, arguments: list[str]) -> int:
    """Write the page, or with --check compare it; return the exit code.

    `script` is the command's file, which the message about a stale page names.
    """
    if "--check" not in arguments:
        page.write_text(wanted, encoding="utf-8")
        return 0
    if page.is_file() and page.read_text(encoding="utf-8") == wanted:
        return 0
    sys.stderr.write(f"{page} is stale; write it again: python {script}\n")
    return 1
