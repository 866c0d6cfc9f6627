"""stdout and stderr for terminals without UTF-8, full disks, and readers that exit early."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from lori_cl.errors import OutputError

REPLACEMENTS = {
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "→": "->",
    "←": "<-",
    "·": ".",
    "×": "x",
    "±": "+/-",
    "≤": "<=",
    "≥": ">=",
    "Δ": "d",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "\u00a0": " ",
    **dict.fromkeys("─━╌╴╶═", "-"),
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╸╺", "+"),
    **dict.fromkeys("█▓▒░■", "#"),
}
"""ASCII replacements for the characters that lori-cl prints. Others become backslash escapes."""

ERRORS = "lori_cl.readable"


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    """Codec error handler: replace a character by the nearest ASCII, or by a backslash escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unencodable = error.object[error.start : error.end]
    replaced = (REPLACEMENTS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in unencodable)
    return "".join(replaced), error.end


codecs.register_error(ERRORS, _replace)

TERMINAL_ASCII = "terminal_ascii"
"""Another name for ASCII: click writes UTF-8 to a stream whose encoding is named 'ascii'."""


def _find_codec(name: str) -> codecs.CodecInfo | None:
    found = codecs.lookup("ascii")
    return (
        codecs.CodecInfo(found.encode, found.decode, name=TERMINAL_ASCII) if name == TERMINAL_ASCII else None
    )


codecs.register(_find_codec)


class Stream:
    """A text stream that replaces unencodable characters; everything else is delegated to `inner`."""

    def __init__(self, inner: TextIO) -> None:
        self._inner = inner
        with suppress(AttributeError, ValueError, OSError):  # streams of tests and notebooks lack it
            inner.reconfigure(errors=ERRORS)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def encoding(self) -> str:
        """Name of the encoding; `TERMINAL_ASCII` instead of 'ascii'."""
        name = self._inner.encoding or "utf-8"
        return TERMINAL_ASCII if codecs.lookup(name).name == "ascii" else name

    def write(self, text: str) -> int:
        """Write the text; `_failed` handles errors."""
        try:
            return self._inner.write(text)
        except OSError as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        """Flush the buffer."""
        try:
            self._inner.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        raise NotImplementedError


class Results(Stream):
    """stdout: raises an error if a result cannot be written."""

    def _failed(self, error: OSError) -> None:
        _raise_unwritable(error)


def _raise_unwritable(error: OSError) -> NoReturn:
    """Raises: BrokenPipeError, if the reader has exited; OutputError."""
    if error.errno == errno.EPIPE:
        raise error
    raise OutputError(f"cannot write to stdout: {error.strerror}; committed data is kept") from None


class Messages(Stream):
    """stderr: drops messages that cannot be written, so that the command continues."""

    def _failed(self, error: OSError) -> None:
        pass


@contextmanager
def safe_streams() -> Iterator[None]:
    """Make stdin, stdout and stderr usable until the context ends, even if they are closed.

    A closed stdin reads as empty; closed stdout and stderr drop what is written.
    """
    _open_closed_descriptors()
    before = sys.stdin, sys.stdout, sys.stderr
    with (
        Path(os.devnull).open(encoding="utf-8") as empty,
        Path(os.devnull).open("w", encoding="utf-8") as sink,
    ):
        sys.stdin = before[0] or empty
        sys.stdout = cast(TextIO, Results(before[1] or sink))
        sys.stderr = cast(TextIO, Messages(before[2] or sink))
        try:
            yield
        finally:
            for stream in filter(None, before[1:]):
                _flush_or_drop(stream)
            sys.stdin, sys.stdout, sys.stderr = before


def write_bytes(content: bytes) -> None:
    """Flush stdout, then write bytes to it.

    Raises: BrokenPipeError; OutputError.
    """
    sys.stdout.flush()
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        _raise_unwritable(error)


def shows(character: str, stream: TextIO) -> bool:
    """Whether the stream's encoding has this character."""
    try:
        character.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_unicode(stream: TextIO) -> bool:
    """Whether the stream's encoding has every character."""
    return (stream.encoding or "utf-8").lower().startswith("utf")


def _open_closed_descriptors() -> None:
    """Open the null device for each closed standard stream.

    Otherwise the next opened file, such as a checkpoint, gets descriptor 1 or 2, to which libraries write
    messages.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one


def _flush_or_drop(stream: TextIO) -> None:
    """Flush the buffer, or drop it if that fails: otherwise Python fails when it exits."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
            stream.flush()
