"""Experiment trackers: their packages, and one run of a tracker for each training job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

from lori_cl.errors import InputError

LOGGER_PACKAGES: Mapping[str, Sequence[str]] = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
}
"""Loggers with an extra of the same name, and the packages of which each needs one."""


def check_loggers(loggers: Sequence[str]) -> None:
    """Check that the packages of loggers are installed.

    Raises: InputError, naming the extra of lori-cl that installs the first missing one.
    """
    for logger in loggers:
        packages = LOGGER_PACKAGES.get(logger, ())
        if packages and not any(find_spec(package) for package in packages):
            raise InputError(
                f"train.loggers: '{logger}' needs the package {packages[0]}, which is not installed; install "
                f"it: pip install 'lori-cl[{logger}]'"
            )


@contextmanager
def own_tracker_run(loggers: Sequence[str]) -> Iterator[None]:
    """End the run of wandb that a training job begins, so that the next job begins one of its own.

    The other trackers end theirs. A run that the caller began is left open.
    """
    if "wandb" not in loggers:
        yield
        return
    wandb = import_module("wandb")
    began_before = wandb.run is not None
    try:
        yield
    finally:
        if wandb.run is not None and not began_before:
            wandb.finish()
