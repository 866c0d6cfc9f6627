"""Options that permit what tasks can ask for: running programs, scorer functions and judges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def permission_options(command: F) -> F:
    """Add --allow-code-execution and --trust-tasks to a command that scores tasks."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option(
        "--allow-code-execution",
        is_flag=True,
        help="Run model-generated programs, contained, to score code tasks.",
    ),
    click.option(
        "--trust-tasks",
        is_flag=True,
        help="Run the scorer functions of the tasks, without containment, and send answers to their judges.",
    ),
)
