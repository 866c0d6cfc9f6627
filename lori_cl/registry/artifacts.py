"""Content-addressed files: a file's name is the SHA-256 of its content."""

from __future__ import annotations

import os
import re
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lori_cl import digest
from lori_cl.errors import ArtifactDamaged, ArtifactMissing, WorkspaceUnusable
from lori_cl.registry.safe_paths import require_inside

PART_PREFIX = ".part-"
"""Prefix of a file's name while the file is written."""

Suffix = Literal["safetensors", "jsonl"]

DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class ArtifactStore:
    """The artifacts folder of a workspace."""

    folder: Path
    root: Path | None = None
    """The workspace; no link on the path to the folder may lead out of it."""

    def path(self, sha256: str, suffix: Suffix) -> Path:
        """Return the path of an artifact, whether or not it exists.

        Raises: WorkspaceUnusable, if the name is not a digest, or the file is a link out of the folder.
        """
        if not DIGEST.fullmatch(sha256):
            raise WorkspaceUnusable(
                f"the registry refers to the artifact '{sha256}', which is not a SHA-256 digest"
            )
        path = self.folder / f"{sha256}.{suffix}"
        if self.root is not None:
            require_inside(self.root, self.folder)
        require_inside(self.folder, path)
        return path

    def put(self, content: bytes, suffix: Suffix) -> str:
        """Write the content durably and atomically; return its digest.

        Raises: WorkspaceUnusable, if it cannot be written; no partial file is left under its name.
        """
        sha256 = digest.of_bytes(content)
        target = self.path(sha256, suffix)
        try:
            if target.is_file() and digest.of_file(target) == sha256:
                with suppress(PermissionError):  # another user's read-only file is written again
                    os.utime(target)  # `gc` keeps recent files, so refresh the time
                    return sha256
            self.folder.mkdir(parents=True, exist_ok=True)
            write_durably(target, content)
        except OSError as error:
            raise WorkspaceUnusable(
                f"{target.name} ({len(content):,} bytes) cannot be written to {self.folder}: {error.strerror}"
            ) from error
        return sha256

    def entry(self, sha256: str, suffix: Suffix) -> dict[str, tuple[str, int]]:
        """Return {digest: (suffix, bytes)} of an existing artifact, as a commit registers it."""
        return {sha256: (suffix, self.path(sha256, suffix).stat().st_size)}

    def get(self, sha256: str, suffix: Suffix) -> bytes:
        """Read an artifact.

        Raises: ArtifactMissing; ArtifactDamaged, if the content does not match the digest.
        """
        path = self.path(sha256, suffix)
        try:
            if path.exists() and not path.is_file():  # reading a pipe would block
                raise ArtifactDamaged(f"{path} is not a regular file; restore it from a backup")
            content = path.read_bytes()
        except FileNotFoundError:
            raise ArtifactMissing(
                f"{path} is missing, but the registry refers to it; restore it from a backup"
            ) from None
        except OSError as error:
            raise WorkspaceUnusable(f"{path} cannot be read: {error.strerror}") from error
        found = digest.of_bytes(content)
        if found != sha256:
            raise ArtifactDamaged(
                f"{path} is damaged: its content has digest {found}; restore it from a backup"
            )
        return content


def write_durably(target: Path, content: bytes) -> None:
    """Write a file atomically: after a power failure it is complete or unchanged."""
    part = target.with_name(f"{PART_PREFIX}{uuid.uuid4().hex}")
    handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)  # the umask sets the permissions
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename must survive a power failure too
    finally:
        os.close(folder)
