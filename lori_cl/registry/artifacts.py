"""Content-addressed files: the name is the SHA-256 of the content."""

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

PART = ".part-"
"""What the name of a file begins with while it is written."""

Suffix = Literal["safetensors", "jsonl"]

DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class ArtifactStore:
    """The artifacts folder of a workspace."""

    folder: Path
    root: Path | None = None
    """The workspace, which no link on the way to the folder may lead out of."""

    def path(self, sha256: str, suffix: Suffix) -> Path:
        """Where the artifact lies, or would.

        Raises: WorkspaceUnusable, if the name is no digest, or the file is a link that leads elsewhere.
        """
        if not DIGEST.fullmatch(sha256):
            raise WorkspaceUnusable(f"the registry names the artifact '{sha256}', which is no SHA-256")
        path = self.folder / f"{sha256}.{suffix}"
        if self.root is not None:
            require_inside(self.root, self.folder)
        require_inside(self.folder, path)
        return path

    def put(self, content: bytes, suffix: Suffix) -> str:
        """Write the content durably and in one step; return its digest.

        Raises: WorkspaceUnusable, if it cannot be written; nothing half-written is left under its name.
        """
        sha256 = digest.of_bytes(content)
        target = self.path(sha256, suffix)
        try:
            if target.is_file() and digest.of_file(target) == sha256:
                with suppress(PermissionError):  # another user's, who lets it only be read, is written again
                    os.utime(target)  # as old as its newest writing, for `gc` leaves young files alone
                    return sha256
            self.folder.mkdir(parents=True, exist_ok=True)
            write_durably(target, content)
        except OSError as error:
            raise WorkspaceUnusable(
                f"{target.name} ({len(content):,} bytes) cannot be written to {self.folder}: {error.strerror}"
            ) from error
        return sha256

    def get(self, sha256: str, suffix: Suffix) -> bytes:
        """Read an artifact back.

        Raises: ArtifactMissing; ArtifactDamaged, if the content is not what the name says.
        """
        path = self.path(sha256, suffix)
        try:
            if path.exists() and not path.is_file():  # a pipe would be waited at for ever
                raise ArtifactDamaged(f"{path} is no file; restore it from a backup")
            content = path.read_bytes()
        except FileNotFoundError:
            raise ArtifactMissing(f"{path}: the registry names this file, and it is not there") from None
        except OSError as error:
            raise WorkspaceUnusable(f"{path} cannot be read: {error.strerror}") from error
        found = digest.of_bytes(content)
        if found != sha256:
            raise ArtifactDamaged(f"{path}: the content has digest {found}; restore the file from a backup")
        return content


def write_durably(target: Path, content: bytes) -> None:
    """Write a file in one step: after a power cut it is there whole, or as it was before."""
    part = target.with_name(f"{PART}{uuid.uuid4().hex}")
    handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)  # the umask decides who may read it
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
        os.fsync(folder)  # the rename itself must survive a power cut
    finally:
        os.close(folder)
