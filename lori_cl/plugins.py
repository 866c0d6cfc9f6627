"""Named implementations: those of the package, and those that installed plugins add by entry points.

A plugin is an installed package with an entry point in one of the groups below, for instance in its
pyproject.toml:

    [project.entry-points."lori_cl.methods"]
    my-method = "my_package:MyMethod"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from lori_cl.errors import InputError, first_line, suggestion

T = TypeVar("T")

GROUPS: Mapping[str, str] = {
    "lori_cl.methods": "method",
    "lori_cl.mask_strategies": "mask strategy",
    "lori_cl.task_kinds": "task kind",
    "lori_cl.scorers": "scorer",
    "lori_cl.report_formats": "report format",
    "lori_cl.merge_methods": "merge method",
}
"""Each group of entry points, and what it adds."""


@dataclass(frozen=True)
class Plugin:
    """One entry point of an installed package."""

    group: str
    name: str
    package: str
    """The distribution's name and version."""
    target: str
    """`module:attribute`."""

    def load(self) -> Any:
        """Import it.

        Raises: InputError: it cannot be imported.
        """
        try:
            return EntryPoint(self.name, self.target, self.group).load()
        except Exception as error:  # importing somebody's package can raise anything
            raise InputError(
                f"{GROUPS[self.group]} '{self.name}' of plugin {self.package} cannot be imported: "
                f"{type(error).__name__}: {first_line(error)}"
            ) from error


@cache
def plugins(group: str) -> Mapping[str, Plugin]:
    """The plugins of a group by name; of two with one name, the first by package."""
    found = [
        Plugin(group, each.name, f"{each.dist.name} {each.dist.version}" if each.dist else "?", each.value)
        for each in entry_points(group=group)
    ]
    ordered = sorted(found, key=lambda plugin: (plugin.package, plugin.name))
    return {plugin.name: plugin for plugin in reversed(ordered)}


class Implementations(Mapping[str, T], Generic[T]):
    """The implementations of one group by name; a built-in one comes before a plugin of the same name.

    Raises: InputError: an unknown name, or a plugin that cannot be imported.
    """

    def __init__(self, group: str, built_in: Mapping[str, T]) -> None:
        self.group = group
        self.built_in = dict(built_in)
        self._loaded: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name in self.built_in:
            return self.built_in[name]
        if name not in self._loaded:
            plugin = plugins(self.group).get(name)
            if plugin is None:
                raise KeyError(name)
            self._loaded[name] = plugin.load()
        return self._loaded[name]

    def find(self, name: str) -> T:
        """The implementation of this name.

        Raises: InputError: there is none, with the nearest name; or a plugin cannot be imported.
        """
        try:
            return self[name]
        except KeyError:
            known = ", ".join(self)
            raise InputError(
                f"unknown {GROUPS[self.group]} '{name}' (available: {known}).{suggestion(name, self)}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in plugins(self.group)

    def __iter__(self) -> Iterator[str]:
        yield from self.built_in
        yield from (name for name in plugins(self.group) if name not in self.built_in)

    def __len__(self) -> int:
        return sum(1 for _ in self)
