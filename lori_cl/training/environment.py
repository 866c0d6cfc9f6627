"""What stages are computed with, and whether a run goes on with what it was computed with so far."""

from __future__ import annotations

import logging
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
from lori_cl.training.determinism import determinism_flags
from lori_cl.training.launch import is_writer, processes

log = logging.getLogger(__name__)

version = cache(metadata.version)
"""Of an installed package; every score asks for some, and reading one takes milliseconds."""

PACKAGES = (
    *("lori-cl", "torch", "transformers", "peft", "accelerate", "tokenizers", "numpy", "scipy"),
    *("scikit-learn", "datasets", "safetensors"),
)

TOLD_ONLY = frozenset({"python", "datasets", "safetensors", "platform", "git_revision"})
"""What may differ between the stages of a run: it changes no result, or digests find it when it does."""

GIT_TIMEOUT_S = 5


def environment(folder: Path) -> dict[str, Any]:
    """What is computed with here; the git revision, where there is one, is that of the folder."""
    revision = git_revision(folder)
    return {
        "python": platform.python_version(),
        **{_key(name): version(name) for name in PACKAGES},
        "platform": platform.platform(),
        **compute(),
        "processes": processes(),
        **determinism_flags(),
        **({} if revision is None else {"git_revision": revision}),
    }


def compute() -> dict[str, Any]:
    """The part of the environment that a score's last bits depend on."""
    return {
        **{_key(name): version(name) for name in ("lori-cl", "torch", "transformers", "peft")},
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
    }


def decisive(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an environment that can change results."""
    return {field: value for field, value in environment.items() if field not in TOLD_ONLY}


def git_revision(folder: Path) -> str | None:
    """The commit that is checked out around a folder; None outside a repository, or without git."""
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
    """Make sure that a run goes on with what its newest stage was computed with; tell what differs all the
    same.

    What one of the two does not record is no difference.
    Raises: RunConflict, naming all that can change results, with both values and what to do, unless a change
    is allowed.
    """
    newest = run.stages[-1] if run.stages else None
    before = run.environment if newest is None else run.environment_of(newest)
    since = "it was begun" if newest is None else f"stage {newest.position} was computed"
    changed = differing(before, here)
    refused = [] if change_allowed else [field for field in changed if field not in TOLD_ONLY]
    for field in changed:
        if field not in refused and is_writer():
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
            f"{f'As before: {remedies}. ' if remedies else ''}With what is here: --allow-environment-change"
        )


def differing(before: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """The fields that both record, with other values."""
    return [field for field, value in here.items() if field in before and before[field] != value]


def _remedy(field: str, before: Any) -> str | None:
    """What brings a field's old value back, where a user can."""
    if field == "threads":
        return f"set OMP_NUM_THREADS={before}"
    if field == "processes":
        return f"start {before} of them with torchrun"
    package = next((name for name in PACKAGES if _key(name) == field), None)
    return None if package is None else f"pip install {package}=={before}"


def _key(package: str) -> str:
    return package.replace("-", "_")
