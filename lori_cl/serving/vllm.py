"""The command that serves exported adapters with vLLM."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values of `--max-lora-rank` in vLLM 0.14 (`MaxLoRARanks` in vllm/config/lora.py)."""


def serve_command(base: str, revision: str | None, folders: Mapping[str, Path], rank: int) -> str:
    """Return the command that serves the adapters in these folders, by name; `rank` is the largest.

    `fitting_rank(rank)` must not be None.
    """
    words = ["vllm", "serve", base, *(["--revision", revision] if revision else []), "--enable-lora"]
    words += ["--max-lora-rank", str(fitting_rank(rank)), "--lora-modules"]
    return shlex.join([*words, *(f"{name}={folder}" for name, folder in folders.items())])


def fitting_rank(rank: int) -> int | None:
    """Return the smallest value of `--max-lora-rank` that adapters of this rank fit in; None without one."""
    return next((allowed for allowed in RANKS if allowed >= rank), None)


def rank_note(rank: int) -> str | None:
    """Return a line about a rank that vLLM does not accept as it is, or None."""
    fitting, allowed = fitting_rank(rank), ", ".join(map(str, RANKS))
    if fitting is None:
        return f"vLLM cannot serve them: the rank is {rank:,}, and vLLM allows up to {RANKS[-1]}"
    if fitting != rank:
        return f"--max-lora-rank is {fitting}, because vLLM allows {allowed}, and the largest rank is {rank}"
    return None
