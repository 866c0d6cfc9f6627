"""A short summary of the sites and of the modules that are not adapted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from lori_cl.adapters.site_selection import SiteSelection

SHOWN_NAMES = 3
"""Number of names shown for each reason."""


def describe_sites(selection: SiteSelection) -> list[str]:
    """Return two lines on what is adapted and what is not, with their shares of the base model's weights.

    Example: `adapter: 14 sites (85% of the weights): self_attn.q_proj, … ×2` and `not adapted: embeddings
    model.embed_tokens (15%)`.
    """
    total = max(1, sum(selection.parameters.values()))
    count = len(selection.sites)
    lines = [
        f"adapter: {count:,} site{'s' * (count != 1)} ({_share(selection, selection.sites, total)} of the "
        f"weights): {_grouped(selection.sites)}"
    ]
    by_reason: dict[str, list[str]] = {}
    for name, reason in selection.left_out.items():
        by_reason.setdefault(reason, []).append(name)
    sizes = {r: sum(selection.parameters[n] for n in names) for r, names in by_reason.items()}
    parts = [
        f"{reason} ({_share(selection, by_reason[reason], total)}: {_named(by_reason[reason])})"
        for reason in sorted(by_reason, key=lambda r: (-sizes[r], r))
    ]
    return [*lines, f"not adapted: {'; '.join(parts)}"] if parts else lines


def _share(selection: SiteSelection, names: Iterable[str], total: int) -> str:
    share = sum(selection.parameters[name] for name in names) / total
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def _counts(names: Iterable[str]) -> Mapping[str, int]:
    """Count the modules by name within the layer: `self_attn.q_proj` → 24."""
    counts: dict[str, int] = {}
    for name in names:
        within = re.split(r"(?:^|\.)\d+\.", name, maxsplit=1)[-1]
        pattern = re.sub(r"(?<=\.)\d+(?=\.|$)", "*", within)
        counts[pattern] = counts.get(pattern, 0) + 1
    return counts


def _grouped(names: Iterable[str]) -> str:
    """Group names that occur equally often: `q_proj, k_proj ×24; lm.dense`."""
    groups: dict[int, list[str]] = {}
    for pattern, count in _counts(names).items():
        groups.setdefault(count, []).append(pattern)
    return "; ".join(", ".join(g) + (f" ×{count}" if count > 1 else "") for count, g in groups.items())


def _named(names: Iterable[str]) -> str:
    """Return the first few names, with how often each occurs."""
    counts = _counts(names)
    shown = [f"{p} ×{c}" if c > 1 else p for p, c in list(counts.items())[:SHOWN_NAMES]]
    return ", ".join([*shown, "…"] if len(counts) > SHOWN_NAMES else shown)
