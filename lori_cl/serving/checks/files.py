"""Whether every file is the one that the registry names."""

from __future__ import annotations

from lori_cl import digest
from lori_cl.errors import Untruth
from lori_cl.registry.artifacts import Suffix
from lori_cl.serving.checks.evidence import Evidence, expect


def files(evidence: Evidence) -> str:
    """Every file has the digest of its name, and the size and suffix that were registered."""
    named, total = evidence.named, 0
    registered = evidence.registry.artifacts([sha256 for sha256, _ in named])
    for (sha256, suffix), record in named.items():
        total += check_file(evidence, record, sha256, suffix, registered.get(sha256))
    return f"{len(named):,} of {total:,} bytes, each with the digest of its name"


def check_file(
    evidence: Evidence, record: str, sha256: str, suffix: Suffix, registered: tuple[str, int] | None
) -> int:
    """Make sure that one file is the one that was registered; returns its bytes.

    Raises: Untruth.
    """
    path = evidence.artifacts.path(sha256, suffix)
    try:
        found, size = digest.of_file(path), path.stat().st_size
    except FileNotFoundError:
        raise Untruth(f"{record}: {path} is not there; restore it from a backup") from None
    if found != sha256:
        both = f"{found}, and the registry says {sha256}"
        raise Untruth(f"{record}: the digest of {path} is {both}; restore the file from a backup")
    expect(record, f"(suffix, bytes) of {path}", (suffix, size), registered)
    return size
