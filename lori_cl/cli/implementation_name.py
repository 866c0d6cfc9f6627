"""Options whose value names a built-in implementation, or one that a plugin adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from lori_cl.plugins import names, unknown


class ImplementationName(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """The name of an implementation of a group in `lori_cl.plugins.GROUPS`; nothing is imported.

    Raises: UnknownImplementation: the name is unknown.
    """

    name = "name"

    def __init__(self, group: str, built_in: Sequence[str]) -> None:
        self.group = group
        self._built_in = built_in

    @property
    def names(self) -> list[str]:
        """The built-in names, then those that installed plugins add."""
        return names(self.group, self._built_in)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """List the names in the help text."""
        return f"[{'|'.join(self.names)}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, if it is known."""
        if value not in self.names:
            raise unknown(self.group, str(value), self.names)
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete a name."""
        return [CompletionItem(name) for name in self.names if name.startswith(incomplete)]
