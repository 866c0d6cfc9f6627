"""The workspace of a command: that of the global options, as the Python API has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, TypeVar

import click

from lori_cl.api.workspace import Workspace
from lori_cl.registry.workspace import Workspace as Storage

R = TypeVar("R")


def pass_workspace(command: Callable[..., R]) -> Callable[..., R]:
    """Pass the workspace to a command as its first argument; nothing is created."""

    @click.pass_obj
    def call(storage: Storage, /, *arguments: Any, **options: Any) -> R:
        return command(Workspace.of(storage), *arguments, **options)

    return update_wrapper(call, command)
