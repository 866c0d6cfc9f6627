"""Bit-for-bit reproducibility: derived seeds and deterministic kernels."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import torch


def derive_seed(*parts: int | str) -> int:
    """Derive a 32-bit seed, which every generator accepts, from a run seed and names."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def make_deterministic() -> None:
    """Enable torch's deterministic kernels; torch warns where it has none."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by CUDA for determinism
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling uninitialised memory costs time and affects no result.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def determinism_flags() -> dict[str, Any]:
    """Return torch's determinism settings; those of GPU libraries only if a GPU is available."""
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
