"""What stdout and stderr do where the terminal lacks UTF-8, the disk is full, or nobody reads."""

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
"""What lori-cl writes, in ASCII. Other characters that an encoding lacks become backslash escapes."""

ERRORS = "lori_cl.readable"


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler for codecs: the nearest ASCII, or a backslash escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    shown = (REPLACEMENTS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in missing)
    return "".join(shown), error.end


codecs.register_error(ERRORS, _replace)

TERMINAL_ASCII = "terminal_ascii"
"""ASCII under another name: to a stream that says 'ascii', click writes UTF-8."""


def _find_codec(name: str) -> codecs.CodecInfo | None:
    found = codecs.lookup("ascii")
    return (
        codecs.CodecInfo(found.encode, found.decode, name=TERMINAL_ASCII) if name == TERMINAL_ASCII else None
    )


codecs.register(_find_codec)


class Stream:
    """A text stream that shows every character somehow; all else is the inner stream's."""

    def __init__(self, inner: TextIO) -> None:
        self._inner = inner
        with suppress(AttributeError, ValueError, OSError):  # a stream of a test or a notebook has none
            inner.reconfigure(errors=ERRORS)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def encoding(self) -> str:
        """The encoding's name, never 'ascii'."""
        name = self._inner.encoding or "utf-8"
        return TERMINAL_ASCII if codecs.lookup(name).name == "ascii" else name

    def write(self, text: str) -> int:
        """Write the text; see `_failed` for what happens where that is impossible."""
        try:
            return self._inner.write(text)
        except OSError as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            self._inner.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        raise NotImplementedError


class Results(Stream):
    """stdout: a result that cannot be written is an error."""

    def _failed(self, error: OSError) -> None:
        _unwritable(error)


def _unwritable(error: OSError) -> NoReturn:
    """Raises: BrokenPipeError, where the reader has left; OutputError."""
    if error.errno == errno.EPIPE:
        raise error
    raise OutputError(f"stdout cannot be written: {error.strerror}; what was committed stays") from None


class Messages(Stream):
    """stderr: a message that cannot be written stops no job."""

    def _failed(self, error: OSError) -> None:
        pass


@contextmanager
def safe_streams() -> Iterator[None]:
    """While the context lasts, stdin, stdout and stderr can be used, whatever they are.

    A closed one reads as empty, or drops what is written.
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
                _let_go(stream)
            sys.stdin, sys.stdout, sys.stderr = before


def write_bytes(content: bytes) -> None:
    """Write bytes to stdout, after the text so far.

    Raises: BrokenPipeError; OutputError.
    """
    sys.stdout.flush()
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        _unwritable(error)


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
    """Put the null device where a standard stream is closed: else the next file, a model's or a checkpoint's,
    would get the number that libraries write their messages to."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def _let_go(stream: TextIO) -> None:
    """Write what is buffered, or drop it where that is impossible: Python would fail over it at its end."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
            stream.flush()
