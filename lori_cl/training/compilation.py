"""Compile a model for one training job, with torch.compile."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from lori_cl.errors import InputError

COMPILERS = ("g++", "clang++", "c++")


@contextmanager
def compiled(learner: nn.Module, *, enabled: bool) -> Iterator[None]:
    """Compile calls of the learner while the context is active; its names and parameters stay the same.

    The Trainer's own option is not used: it sets environment variables that apply to all later training of
    the process.
    """
    if not enabled:
        yield
        return
    learner.compile(options={"fallback_random": True})  # dropout draws what it draws without compilation
    try:
        yield
    finally:
        learner._compiled_call_impl = None
        torch.compiler.reset()  # otherwise, stages would share a limit on the number of compilations


def check_compiler() -> None:
    """Check that torch.compile can compile on this machine.

    Raises: InputError, naming what is missing.
    """
    named = os.environ.get("CXX")
    if not any(shutil.which(each) for each in ((named,) if named else COMPILERS)):
        wanted = f"'{named}', which CXX names," if named else "a C++ compiler, which"
        raise InputError(
            f"train.torch_compile needs {wanted} is not installed: apt-get install g++, or remove "
            "train.torch_compile"
        )
    if torch.cuda.is_available() and importlib.util.find_spec("triton") is None:
        raise InputError(
            "train.torch_compile needs the package triton, which is not installed: pip install triton, or "
            "remove train.torch_compile"
        )
