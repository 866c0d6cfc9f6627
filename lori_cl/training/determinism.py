"""The same command gives the same bits: derived seeds, deterministic kernels, and what they ran on."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import version
from typing import Any

import torch

PACKAGES = ("lori-cl", "torch", "transformers", "peft", "accelerate", "datasets", "numpy", "safetensors")


def derive_seed(*parts: int | str) -> int:
    """A seed of 32 bits (what every generator takes) from a run seed and names."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def make_deterministic() -> None:
    """Ask torch for kernels whose result does not depend on chance; warn where it has none."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # CUDA's own condition for it
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory costs time and changes nothing that is read.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def environment() -> dict[str, Any]:
    """What a run was computed with."""
    return {
        "python": platform.python_version(),
        **{name.replace("-", "_"): version(name) for name in PACKAGES},
        "platform": platform.platform(),
        **compute(),
    }


def compute() -> dict[str, Any]:
    """The part of the environment that a score's last bits depend on."""
    return {
        **{name.replace("-", "_"): version(name) for name in ("lori-cl", "torch", "transformers", "peft")},
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
    }
