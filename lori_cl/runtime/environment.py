"""The environment that stages are computed in: deterministic kernels, and what is recorded and compared."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from lori_cl.errors import RunConflict
from lori_cl.registry import Run
from lori_cl.runtime.distributed import processes, sharding

log = logging.getLogger(__name__)

version = cache(metadata.version)
"""Version of an installed package, cached: every score needs several, and reading one takes milliseconds."""

PACKAGES = (
    *("lori-cl", "torch", "transformers", "peft", "accelerate", "tokenizers", "numpy", "scipy"),
    *("scikit-learn", "datasets", "safetensors"),
)

INFORMATIONAL = frozenset({"python", "datasets", "safetensors", "platform", "git_revision", "sharding"})
"""Fields that may differ between a run's stages: they change no result, or digests detect the change."""

GIT_TIMEOUT_S = 5


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


def environment(folder: Path) -> dict[str, Any]:
    """Return the current environment; the git revision, if any, is that of the folder."""
    revision = git_revision(folder)
    return {
        "python": platform.python_version(),
        **{_key(name): version(name) for name in PACKAGES},
        "platform": platform.platform(),
        **compute(),
        "processes": processes(),
        **({} if sharding() is None else {"sharding": "fsdp2"}),
        **determinism_flags(),
        **({} if revision is None else {"git_revision": revision}),
    }


def compute() -> dict[str, Any]:
    """Return the part of the environment that a score depends on bit for bit."""
    return {
        **{_key(name): version(name) for name in ("lori-cl", "torch", "transformers", "peft")},
        "machine": platform.machine(),
        # Kernels for other vector instructions add in another order and round differently.
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
    }


def result_relevant(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an environment that can change results."""
    return {field: value for field, value in environment.items() if field not in INFORMATIONAL}


def git_revision(folder: Path) -> str | None:
    """Return the checked-out commit of a folder's repository; None outside a repository, or without git."""
    command = ["git", "-C", str(folder), "rev-parse", "--verify", "HEAD"]  # runs no hook, writes nothing
    try:
        done = subprocess.run(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def check_same_environment(run: Run, here: Mapping[str, Any], *, change_allowed: bool) -> None:
    """Check that a run is resumed in the environment of its newest stage; log the differences it allows.

    A field that only one of the two records is not a difference.
    Raises: RunConflict, naming every difference that can change results, with both values and what to do,
    unless a change is allowed.
    """
    newest = run.stages[-1] if run.stages else None
    before = run.environment if newest is None else run.environment_of(newest)
    since = "it was started" if newest is None else f"stage {newest.position} was computed"
    changed = differing(before, here)
    refused = [] if change_allowed else [field for field in changed if field not in INFORMATIONAL]
    for field in changed:
        if field not in refused:
            log.warning(
                "run '%s': %s was %s when %s, and is %s now",
                run.name,
                field,
                before[field],
                since,
                here[field],
            )
    if refused:
        values = ", ".join(f"{field} {before[field]} (now {here[field]})" for field in refused)
        remedies = "; ".join(filter(None, (_remedy(field, before[field]) for field in refused)))
        raise RunConflict(
            f"run '{run.name}': {since} with {values}, which can change results. "
            f"{f'To restore them: {remedies}. ' if remedies else ''}"
            "To resume here: use --allow-environment-change"
        )


def differing(before: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return the fields that both record with different values."""
    return [field for field, value in here.items() if field in before and before[field] != value]


def _remedy(field: str, before: Any) -> str | None:
    """Return the action that restores a field's old value; None if a user cannot."""
    if field == "threads":
        return f"set OMP_NUM_THREADS={before}"
    if field == "processes":
        return f"start {before} processes with torchrun"
    package = next((name for name in PACKAGES if _key(name) == field), None)
    return None if package is None else f"pip install {package}=={before}"


def _key(package: str) -> str:
    return package.replace("-", "_")
