"""Check every file against the digest and size in the registry."""

from __future__ import annotations

from lori_cl import digest
from lori_cl.errors import VerificationError
from lori_cl.methods.verification import expect
from lori_cl.registry.artifacts import Suffix
from lori_cl.serving.checks.evidence import Evidence


def files(evidence: Evidence) -> str:
    """Check that every file has the digest in its name, and the registered size and suffix."""
    named, total = evidence.named, 0
    registered = evidence.registry.artifacts([sha256 for sha256, _ in named])
    for (sha256, suffix), record in named.items():
        total += check_file(evidence, record, sha256, suffix, registered.get(sha256))
    return f"{len(named):,} files, {total:,} bytes, each with the digest in its name"


def check_file(
    evidence: Evidence, record: str, sha256: str, suffix: Suffix, registered: tuple[str, int] | None
) -> int:
    """Check that a file is the registered one, and return its size in bytes.

    Raises: VerificationError.
    """
    path = evidence.artifacts.path(sha256, suffix)
    try:
        found, size = digest.of_file(path), path.stat().st_size
    except FileNotFoundError:
        raise VerificationError(f"{record}: {path} is missing; restore it from a backup") from None
    if found != sha256:
        both = f"{found}, and the registry says {sha256}"
        raise VerificationError(f"{record}: the digest of {path} is {both}; restore the file from a backup")
    expect(record, f"(suffix, bytes) of {path}", (suffix, size), registered)
    return size
