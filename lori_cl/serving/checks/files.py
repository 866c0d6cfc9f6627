"""Whether every file is the one that the registry names."""

from __future__ import annotations

from lori_cl import digest
from lori_cl.errors import Untruth
from lori_cl.serving.checks.evidence import Evidence, expect


def files(evidence: Evidence) -> str:
    """Every file has the digest of its name, and the size and suffix that were registered."""
    named, total = evidence.named, 0
    registered = evidence.registry.artifacts([sha256 for sha256, _ in named])
    for (sha256, suffix), record in named.items():
        path = evidence.artifacts.path(sha256, suffix)
        try:
            found, size = digest.of_file(path), path.stat().st_size
        except FileNotFoundError:
            raise Untruth(f"{record}: {path} is not there; restore it from a backup") from None
        if found != sha256:
            both = f"{found}, and the registry says {sha256}"
            raise Untruth(f"{record}: the digest of {path} is {both}; restore the file from a backup")
        expect(record, f"(suffix, bytes) of {path}", (suffix, size), registered.get(sha256))
        total += size
    return f"{len(named):,} of {total:,} bytes, each with the digest of its name"
