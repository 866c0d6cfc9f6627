"""Several processes of one launcher (torchrun, accelerate): all train and score, rank 0 writes.

Without a launcher there is one process, rank 0.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.distributed
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from lori_cl.errors import Interrupted, LoriError
from lori_cl.registry import Workspace
from lori_cl.runtime.progress import Advance, Progress
from lori_cl.runtime.sharding import Sharding, take_sharding

T = TypeVar("T")

_requested: list[Sharding] = []
"""The sharding that the launcher requested, if any, once this process has joined."""


def join() -> None:
    """Join the launcher's other processes, if there are any; only rank 0 logs from now on.

    Raises: InputError, if the launcher requests a kind of sharding that lori_cl does not support.
    """
    if (requested := take_sharding(os.environ)) is not None:
        _requested.append(requested)
    PartialState(cpu=not torch.cuda.is_available())
    if not is_rank_0():
        logging.getLogger("lori_cl").setLevel(logging.CRITICAL)


def sharding() -> Sharding | None:
    """Return how the base model is sharded; None: every process holds all of it."""
    return _requested[-1] if _requested and processes() > 1 else None


def device() -> torch.device:
    """Return this process's device."""
    found: torch.device = PartialState().device
    return found


def processes() -> int:
    """Return the number of processes."""
    return int(PartialState().num_processes)


def is_rank_0() -> bool:
    """Whether this process is rank 0, the one that writes files and the registry, logs and prints."""
    return bool(PartialState().is_main_process)


def wait() -> None:
    """Wait until every process has reached this point."""
    PartialState().wait_for_everyone()


def on_rank_0(action: Callable[[], T]) -> T:
    """Run `action` on rank 0 once every process has reached this point; return its result in every process.

    What rank 0 reads or writes is the same for all: a registry can change between two processes' reads.
    Raises: LoriError, in every process, if the action raises one on rank 0.
    """
    wait()  # no process may still read what the action writes
    outcome: list[Any] = [None, None]  # what the action returned, and what it raised
    if is_rank_0():
        try:
            outcome[0] = action()
        except LoriError as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return cast(T, outcome[0])


def on_every_process(action: Callable[[], T]) -> T:
    """Run `action` in every process, and return this process's result.

    Raises: LoriError, in every process, if the action raises one in any of them.
    """
    result, error = None, None
    try:
        result = action()
    except LoriError as raised:
        error = raised
    errors = [raised for raised in gather_object([error]) if raised is not None]
    if errors:
        raise errors[0]
    return cast(T, result)


def from_rank_0(tensor: torch.Tensor) -> torch.Tensor:
    """Return rank 0's tensor, on this process's device; the other processes give its shape and type only."""
    if is_rank_0():
        received = tensor.detach().to(device()).contiguous()
    else:
        received = torch.empty(tensor.shape, dtype=tensor.dtype, device=device())
    # As bytes, because gloo does not send every type.
    torch.distributed.broadcast(received.reshape(-1).view(torch.uint8), src=0)
    return received


@contextmanager
def lock_run(workspace: Workspace, run: str) -> Iterator[None]:
    """Lock a run for all processes.

    Raises: RunConflict or WorkspaceUnusable, if rank 0 cannot take the lock, or a path that the run writes to
    leads out of the workspace.
    """
    with ExitStack() as held:

        def lock() -> None:
            workspace.check_paths(run)
            held.enter_context(workspace.lock(run))

        on_rank_0(lock)
        yield


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
