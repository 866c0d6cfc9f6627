"""SHA-256 digests of values and files, and seeds derived from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20


def of_bytes(*parts: bytes | memoryview) -> str:
    """Return the hex SHA-256 of the concatenated parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def of_json(value: Any) -> str:
    """Return the hex SHA-256 of a JSON value, independent of the order of its keys."""
    return of_bytes(canonical_json(value).encode())


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces.

    Raises: ValueError, for NaN and infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def of_named(items: Iterable[tuple[str, str, tuple[int, ...], memoryview]]) -> str:
    """Return the hex SHA-256 of named arrays (name, dtype, shape, raw bytes), in the given order."""
    digest = hashlib.sha256()
    for name, dtype, shape, raw in items:
        digest.update(f"{name}|{dtype}|{shape}|".encode())
        digest.update(raw)
    return digest.hexdigest()


def of_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def derive_seed(*parts: int | str) -> int:
    """Derive a 32-bit seed, which every generator accepts, from a run seed and names."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
