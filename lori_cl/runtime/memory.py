"""The free memory of this process's device, and one error for a device without enough of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate.utils.memory import should_reduce_batch_size

from lori_cl.errors import OutOfMemory
from lori_cl.runtime.distributed import device

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux states the memory limit of a container."""

TRIED = re.compile(r"[Tt]ried to allocate ([\d.]+) ?([KMGT]iB|bytes)")
"""The size of the allocation that failed, in torch's messages."""

UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

REMEDY = (
    "set model.dtype: bfloat16, model.quantization or model.device_map, lower train.batch_size or "
    "eval.batch_size, or set train.gradient_checkpointing"
)
"""End of every message about too little memory."""


def free_bytes(where: torch.device | None = None) -> int:
    """Return the free memory of a device; None: of this process's. On the CPU, swap space is included."""
    where = where or device()
    if where.type == "cuda":
        # Memory that torch holds in its cache is free for this process.
        cached = torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where)
        return int(torch.cuda.mem_get_info(where)[0]) + cached
    machine = psutil.virtual_memory().available + psutil.swap_memory().free
    limit = _container_bytes()
    return int(machine if limit is None else min(machine, limit))


def _container_bytes() -> int | None:
    """Return the memory that the container's limit leaves; None without a limit."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        if limit == "max":
            return None
        used = int((CGROUP / "memory.current").read_text())
        statistics = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return int(limit) - used + int(statistics["inactive_file"])  # the page cache is given up first
    except (OSError, ValueError, KeyError):
        return None


@contextmanager
def memory_errors(doing: str) -> Iterator[None]:
    """Convert an allocation that failed to one line with both numbers and the options.

    Raises: OutOfMemory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not (isinstance(error, MemoryError) or should_reduce_batch_size(error)):
            raise
        needed = _tried_bytes(error)
        more = "more memory" if needed is None else f"{gibibytes(needed)} more"
        raise OutOfMemory(
            f"{doing}: out of memory; it needs {more}, and {device()} has {gibibytes(free_bytes())} free. "
            f"To use less: {REMEDY}"
        ) from error


def _tried_bytes(error: BaseException) -> int | None:
    found = TRIED.search(str(error))
    return None if found is None else round(float(found[1]) * UNITS[found[2]])


def gibibytes(size: int) -> str:
    """Return '1.50 GiB', or '12.0 MiB' for less than one GiB."""
    return f"{size / 2**30:,.2f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"


def check_fits(what: str, needed: int, places: Any) -> None:
    """Check that each of these devices has so many bytes free.

    Raises: OutOfMemory, with both numbers.
    """
    for place in places:
        free = free_bytes(place)
        if needed > free:
            raise OutOfMemory(
                f"{what} needs at least {gibibytes(needed)}, and {place} has {gibibytes(free)} free. "
                f"To use less: {REMEDY}"
            )
