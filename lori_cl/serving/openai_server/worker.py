"""One thread that answers the waiting prompts, batch after batch."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence

from lori_cl.serving.openai_server.api_error import ApiError
from lori_cl.serving.openai_server.events import Failed, Prompt

log = logging.getLogger(__name__)


class Worker:
    """Collects prompts that wait and answers them together; only its thread uses the model."""

    def __init__(
        self, answer: Callable[[Sequence[Prompt]], None], *, max_waiting: int, batch_size: int
    ) -> None:
        self._answer = answer
        self._batch_size = batch_size
        self._max_waiting = max_waiting
        self._waiting: queue.Queue[Prompt | None] = queue.Queue(max_waiting)
        self._thread = threading.Thread(target=self._run, name="lori-cl-answers", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Answer the prompts that wait, and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    @property
    def n_waiting(self) -> int:
        """Number of prompts that wait."""
        return self._waiting.qsize()

    def submit(self, prompts: Sequence[Prompt]) -> None:
        """Queue prompts.

        Raises: ApiError: 429, if too many wait, 400, if these are too many; none of them is answered then.
        """
        if len(prompts) > self._max_waiting:
            raise ApiError(
                400,
                f"the request has {len(prompts):,} prompts; this server accepts up to {self._max_waiting:,} "
                "(--max-requests)",
            )
        for prompt in prompts:
            try:
                self._waiting.put_nowait(prompt)
            except queue.Full:
                for each in prompts:
                    each.cancelled.set()
                raise ApiError(
                    429,
                    f"{self._max_waiting:,} prompts are waiting, which is the limit (--max-requests); "
                    "try again later",
                    code="rate_limit_exceeded",
                ) from None

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, stopped = [first], False
            while len(batch) < self._batch_size and not stopped:
                try:
                    following = self._waiting.get_nowait()
                except queue.Empty:
                    break
                stopped = following is None
                if following is not None:
                    batch.append(following)
            self._answer_or_fail(batch)
            if stopped:
                return

    def _answer_or_fail(self, batch: Sequence[Prompt]) -> None:
        """Answer a batch; an unexpected error must not end the thread."""
        try:
            self._answer(batch)
        except Exception as error:
            log.exception("a batch failed")
            for prompt in batch:
                prompt.emit(Failed(error))
