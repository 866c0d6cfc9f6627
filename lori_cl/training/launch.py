"""Several processes of one launcher (torchrun, accelerate): all train and score, the first one writes.

Without a launcher there is one process, which is the first one.
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
from lori_cl.training.observer import Advance, Observer

T = TypeVar("T")


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


def first_says(ask: Callable[[], T]) -> T:
    """The writer's answer, in every process: what a registry answers changes while others write it."""
    answer = [ask() if is_writer() else None]
    broadcast_object_list(answer)
    return cast(T, answer[0])


class Together:
    """An observer by which all processes end after the same unit, where the user asked any of them to: those
    that went on would wait for ever for one that ended."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        """The process's own bar; its advance waits for every process."""
        with self._observer.bar(title, total) as advance:

            def together(units: int) -> None:
                asked = None
                try:
                    advance(units)
                except Interrupted as interrupted:
                    asked = str(interrupted)
                said = [words for words in gather_object([asked]) if words is not None]
                if said:
                    raise Interrupted(said[0])

            yield together


@contextmanager
def hold(workspace: Workspace, run: str) -> Iterator[None]:
    """Hold a run for all of them: the writer asks for it, and tells the others what came of it.

    Raises: RunConflict or WorkspaceUnusable, in every process, where the writer was refused, or a place where
    the run writes leads out of the workspace.
    """
    refusal: list[LoriError | None] = [None]
    with ExitStack() as held:
        if is_writer():
            try:
                workspace.check_places(run)
                held.enter_context(workspace.hold(run))
            except LoriError as error:
                refusal[0] = error
        broadcast_object_list(refusal)
        if refusal[0] is not None:
            raise refusal[0]
        yield
