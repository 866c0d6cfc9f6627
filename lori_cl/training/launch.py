"""Several processes of one launcher (torchrun, accelerate): all train and score, the first one writes.

Without a launcher there is one process, which is the first one.
"""

from __future__ import annotations

import torch
from accelerate import PartialState


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
