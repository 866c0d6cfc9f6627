"""Signatures with a user's SSH key: `ssh-keygen -Y`, part of OpenSSH 8.1 or newer."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lori_cl.errors import InputError, VerificationError

NAMESPACE = "lori_cl-receipt"
"""Signatures for other purposes, such as git commits, are not accepted for receipts."""

SIGNER = "signer"
"""Name of the accepted key in the list of signers that ssh-keygen requires."""


def signature_of(file: Path) -> Path:
    """Return the path of a file's signature."""
    return file.with_name(f"{file.name}.sig")


def sign(file: Path, key: Path) -> Path:
    """Sign a file, replacing an earlier signature; ssh-keygen asks for the key's passphrase.

    Raises: InputError, with the message of ssh-keygen.
    """
    signature = signature_of(file)
    _require_file(key, "key")
    signature.unlink(missing_ok=True)  # otherwise ssh-keygen asks whether to replace it
    done = _ssh_keygen(["-Y", "sign", "-n", NAMESPACE, "-f", str(key.absolute()), str(file.absolute())])
    if done.returncode or not signature.exists():
        raise InputError(f"{file} could not be signed with {key}: {_message(done)}")
    return signature


def check_signature(file: Path, content: bytes, key: Path) -> None:
    """Check that this public key signed the content of the file.

    Raises: InputError, if the key or the signature cannot be read; VerificationError, if the signature is by
    another key or of other content.
    """
    signature = signature_of(file)
    _require_file(key, "public key")
    _require_file(signature, "signature")
    try:
        fields = key.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        fields = []
    if len(fields) < 2 or "PRIVATE" in fields:
        raise InputError(f"{key} is not a public SSH key; give the .pub file")
    with tempfile.TemporaryDirectory() as folder:
        accepted = Path(folder, "accepted")
        accepted.write_text(f"{SIGNER} {fields[0]} {fields[1]}\n", encoding="utf-8")
        options = ["-n", NAMESPACE, "-f", str(accepted), "-I", SIGNER, "-s", str(signature)]
        done = _ssh_keygen(["-Y", "verify", *options], content)
    if done.returncode:
        raise VerificationError(f"{file} was not signed by {key}: {_message(done)}")


def _require_file(path: Path, what: str) -> None:
    if not path.is_file():
        raise InputError(f"{path}: the {what} file does not exist")


def _ssh_keygen(arguments: Sequence[str], content: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise InputError("signatures need ssh-keygen on the PATH: install OpenSSH 8.1 or newer")
    return subprocess.run(  # noqa: S603 (OpenSSH's program; no shell is used)
        [program, *arguments], input=content, capture_output=True, check=False
    )


def _message(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = (done.stderr + done.stdout).decode(errors="replace").split("\n")
    return next((line.strip() for line in lines if line.strip()), f"exit code {done.returncode}")
