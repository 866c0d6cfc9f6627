"""The same command gives the same bits: derived seeds and deterministic kernels."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import torch


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


def determinism_flags() -> dict[str, Any]:
    """What torch was told; of a GPU's libraries only where there is one."""
    flags = {
        "deterministic": ("off", "warn", "error")[torch.get_deterministic_debug_mode()],
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }
    if not torch.cuda.is_available():
        return flags
    return {
        **flags,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }
