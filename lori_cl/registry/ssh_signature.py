"""Signatures by a user's own SSH key: `ssh-keygen -Y`, which comes with OpenSSH 8.1 or newer."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lori_cl.errors import InputError, Untruth

NAMESPACE = "lori_cl-receipt"
"""A signature for another purpose, such as a git commit, does not count as one of a receipt."""

SIGNER = "signer"
"""The name of the one key that is accepted, in the list that ssh-keygen wants."""


def signature_of(file: Path) -> Path:
    """Where a file's signature lies."""
    return file.with_name(f"{file.name}.sig")


def sign(file: Path, key: Path) -> Path:
    """Sign a file; the signature replaces an earlier one. ssh-keygen asks for the key's passphrase.

    Raises: InputError, with what ssh-keygen says.
    """
    signature = signature_of(file)
    _require_file(key, "key")
    signature.unlink(missing_ok=True)  # or ssh-keygen asks whether to replace it
    done = _ssh_keygen(["-Y", "sign", "-n", NAMESPACE, "-f", str(key.absolute()), str(file.absolute())])
    if done.returncode or not signature.exists():
        raise InputError(f"{file} could not be signed with {key}: {_said(done)}")
    return signature


def check_signature(file: Path, content: bytes, key: Path) -> None:
    """Make sure that the content of the file was signed by this public key.

    Raises: InputError, if the key or the signature cannot be read; Untruth, if another key signed it, or the
    content is another one.
    """
    signature = signature_of(file)
    _require_file(key, "public key")
    _require_file(signature, "signature")
    try:
        words = key.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        words = []
    if len(words) < 2 or "PRIVATE" in words:
        raise InputError(f"{key} is no public SSH key; name the .pub file")
    with tempfile.TemporaryDirectory() as folder:
        accepted = Path(folder, "accepted")
        accepted.write_text(f"{SIGNER} {words[0]} {words[1]}\n", encoding="utf-8")
        options = ["-n", NAMESPACE, "-f", str(accepted), "-I", SIGNER, "-s", str(signature)]
        done = _ssh_keygen(["-Y", "verify", *options], content)
    if done.returncode:
        raise Untruth(f"{file} was not signed by {key}: {_said(done)}")


def _require_file(path: Path, what: str) -> None:
    if not path.is_file():
        raise InputError(f"{path}: there is no such {what} file")


def _ssh_keygen(arguments: Sequence[str], content: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise InputError("signatures need ssh-keygen on the PATH: install OpenSSH 8.1 or newer")
    return subprocess.run(  # noqa: S603 (OpenSSH's own program; the arguments are no shell's)
        [program, *arguments], input=content, capture_output=True, check=False
    )


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = (done.stderr + done.stdout).decode(errors="replace").split("\n")
    return next((line.strip() for line in lines if line.strip()), f"exit code {done.returncode}")
