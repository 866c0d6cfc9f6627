"""The text of an unfinished answer: the part that no later token changes, to be sent at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from lori_cl.tasks.kinds.decoding import answer_tokens
from lori_cl.tasks.kinds.generative import before_stop

INCOMPLETE = "\ufffd"
"""What a decoder writes for the first bytes of a character."""


def stable_text(text: str, stop: Sequence[str]) -> str:
    """Return the start of an unfinished answer that no later token changes.

    White space at its end may be removed later, a character may be incomplete, and a stop text may begin.
    """
    end = len(text.rstrip(INCOMPLETE))
    for each in stop:
        begun = (n for n in range(min(len(each) - 1, end), 0, -1) if text[:end].endswith(each[:n]))
        end = min(end, len(text.rstrip(INCOMPLETE)) - next(begun, 0))
    return text[:end].rstrip()


class AnswerText:
    """The tokens of one answer while they are generated, and the text that is known so far."""

    def __init__(self, task: Any, kind: Any, tokenizer: Any, ends: Collection[int]) -> None:
        self._task = task
        self._kind = kind
        self._tokenizer = tokenizer
        self._ends = ends
        self._written: Sequence[int] = ()
        self._sent = ""

    def update(self, written: Sequence[int], *, decode: bool = True) -> str:
        """Take the tokens written so far; return the text that is new since the last call.

        Without `decode`, the text is not needed before the end.
        """
        self._written = written
        if not decode:
            return ""
        text = before_stop(self._decode(), self._task.stop)
        stable = stable_text(self._kind.clean_answer(text), self._task.stop)
        return self._new(stable)

    def finish(self, answer: str) -> str:
        """Return the rest of the finished answer."""
        return self._new(answer)

    @property
    def n_tokens(self) -> int:
        """Number of generated tokens, without padding; an end token counts."""
        tokens = self._tokens()
        return min(len(tokens) + 1, len(self._written)) if self._ended(tokens) else len(tokens)

    @property
    def finish_reason(self) -> str:
        """`length`, if the answer was ended by the maximum number of tokens, otherwise `stop`."""
        tokens = self._tokens()
        stopped = self._ended(tokens) or any(stop in self._decode() for stop in self._task.stop)
        return "length" if not stopped and len(tokens) >= self._task.max_new_tokens else "stop"

    def _new(self, text: str) -> str:
        if not text.startswith(self._sent):  # a tokenizer that rewrites earlier text
            return ""
        new = text[len(self._sent) :]
        self._sent = text
        return new

    def _tokens(self) -> list[int]:
        """Return the tokens before the first end token, without the padding after a stop text."""
        tokens = answer_tokens(self._written, self._ends)
        while tokens and tokens[-1] == self._tokenizer.pad_token_id:
            tokens.pop()
        return tokens

    def _ended(self, tokens: Sequence[int]) -> bool:
        return any(token in self._ends for token in self._written[len(tokens) :])

    def _decode(self) -> str:
        text: str = self._tokenizer.decode(self._tokens(), skip_special_tokens=True)
        return text
