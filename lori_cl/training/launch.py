"""Several processes of one launcher (torchrun, accelerate): all train and score, the first one writes.

Without a launcher there is one process, which is the first one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from lori_cl.errors import LoriError
from lori_cl.registry import Workspace


def join() -> None:
    """Join the launcher's other processes, where there are any."""
    PartialState(cpu=not torch.cuda.is_available())


def device() -> torch.device:
    """This process's own device."""
    found: torch.device = PartialState().device
    return found


def processes() -> int:
    """How many there are."""
    return int(PartialState().num_processes)


def is_writer() -> bool:
    """Whether this process writes the registry and speaks to the user."""
    return bool(PartialState().is_main_process)


def wait() -> None:
    """Go on when every process is here."""
    PartialState().wait_for_everyone()


@contextmanager
def hold(workspace: Workspace, run: str) -> Iterator[None]:
    """Hold a run for all of them: the writer asks for it, and tells the others what came of it.

    Raises: RunConflict or WorkspaceUnusable, in every process, where the writer was refused.
    """
    refusal: list[LoriError | None] = [None]
    with ExitStack() as held:
        if is_writer():
            try:
                held.enter_context(workspace.hold(run))
            except LoriError as error:
                refusal[0] = error
        broadcast_object_list(refusal)
        if refusal[0] is not None:
            raise refusal[0]
        yield
