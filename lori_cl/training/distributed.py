"""Several processes of one launcher (torchrun, accelerate): all train and score, rank 0 writes.

Without a launcher there is one process, rank 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar, cast

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from lori_cl.errors import Interrupted, LoriError
from lori_cl.registry import Workspace
from lori_cl.training.progress import Advance, Progress

T = TypeVar("T")


def join() -> None:
    """Join the launcher's other processes, if there are any."""
    PartialState(cpu=not torch.cuda.is_available())


def device() -> torch.device:
    """Return this process's device."""
    found: torch.device = PartialState().device
    return found


def processes() -> int:
    """Return the number of processes."""
    return int(PartialState().num_processes)


def is_rank_0() -> bool:
    """Whether this process is rank 0, the one that writes the registry, logs and prints."""
    return bool(PartialState().is_main_process)


def wait() -> None:
    """Wait until every process has reached this point."""
    PartialState().wait_for_everyone()


def broadcast_from_rank_0(compute: Callable[[], T]) -> T:
    """Return rank 0's result in every process, because registry reads can differ while others write to it."""
    result = [compute() if is_rank_0() else None]
    broadcast_object_list(result)
    return cast(T, result[0])


class DistributedProgress:
    """Progress that stops all processes after the same unit if the user interrupts any of them.

    Otherwise the remaining processes would wait forever for the one that ended.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        """Show this process's own bar; its advance waits for every process."""
        with self._progress.bar(title, total) as advance:

            def advance_all(units: int) -> None:
                reason = None
                try:
                    advance(units)
                except Interrupted as interrupted:
                    reason = str(interrupted)
                reasons = [text for text in gather_object([reason]) if text is not None]
                if reasons:
                    raise Interrupted(reasons[0])

            yield advance_all


@contextmanager
def lock_run(workspace: Workspace, run: str) -> Iterator[None]:
    """Lock a run for all processes: rank 0 takes the lock and broadcasts the outcome.

    Raises: RunConflict or WorkspaceUnusable, in every process, if rank 0 cannot take the lock, or a path that
    the run writes to leads out of the workspace.
    """
    failure: list[LoriError | None] = [None]
    with ExitStack() as lock:
        if is_rank_0():
            try:
                workspace.check_paths(run)
                lock.enter_context(workspace.lock(run))
            except LoriError as error:
                failure[0] = error
        broadcast_object_list(failure)
        if failure[0] is not None:
            raise failure[0]
        yield
