"""Named implementations: those of the package, and those that installed plugins add by entry points.

A plugin is an installed package with an entry point in one of the groups below, for instance in its
pyproject.toml:

    [project.entry-points."lori_cl.methods"]
    my-method = "my_package:MyMethod"
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from lori_cl.errors import InputError, UnknownImplementation, first_line, suggestion

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
            raise self.error(f"cannot be imported: {type(error).__name__}: {first_line(error)}") from error

    def error(self, problem: str) -> InputError:
        """An error that names the implementation and its package."""
        return InputError(f"{GROUPS[self.group]} '{self.name}' of plugin {self.package} {problem}")


@cache
def plugins(group: str) -> Mapping[str, Plugin]:
    """The plugins of a group by name; of two with one name, the first by package."""
    found = [
        Plugin(group, each.name, f"{each.dist.name} {each.dist.version}" if each.dist else "?", each.value)
        for each in entry_points(group=group)
    ]
    ordered = sorted(found, key=lambda plugin: (plugin.package, plugin.name))
    return {plugin.name: plugin for plugin in reversed(ordered)}


def names(group: str, built_in: Iterable[str]) -> list[str]:
    """The built-in names of a group, then those that plugins add; nothing is imported."""
    return list(dict.fromkeys([*built_in, *plugins(group)]))


def unknown(group: str, name: str, known: Iterable[str]) -> UnknownImplementation:
    """The error for a name that is none of the known ones, with the nearest of them."""
    known = list(known)
    return UnknownImplementation(
        f"unknown {GROUPS[group]} '{name}' (available: {', '.join(known)}).{suggestion(name, known)}"
    )


class Implementations(Mapping[str, T], Generic[T]):
    """The implementations of one group by name; a built-in one comes before a plugin of the same name.

    Args:
        expected: The class, or classes, of which a plugin's implementation must be an instance.
        are_classes: The implementations are classes, and must be subclasses of `expected`.

    Raises: UnknownImplementation: an unknown name, with the nearest name. InputError: a plugin cannot be
        imported, or is not what is expected.
    """

    def __init__(
        self,
        group: str,
        built_in: Mapping[str, T],
        expected: type | tuple[type, ...] = object,
        *,
        are_classes: bool = False,
    ) -> None:
        self.group = group
        self.built_in = dict(built_in)
        self._expected = expected
        self._are_classes = are_classes
        self._loaded: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name in self.built_in:
            return self.built_in[name]
        if name not in self._loaded:
            plugin = plugins(self.group).get(name)
            if plugin is None:
                raise unknown(self.group, name, self)
            self._loaded[name] = self._checked(plugin, plugin.load())
        return self._loaded[name]

    def _checked(self, plugin: Plugin, loaded: Any) -> T:
        if self._are_classes:
            fits = isinstance(loaded, type) and issubclass(loaded, self._expected)
        else:
            fits = isinstance(loaded, self._expected)
        if not fits:
            classes = self._expected if isinstance(self._expected, tuple) else (self._expected,)
            found = (
                f"the class {loaded.__name__}"
                if isinstance(loaded, type)
                else f"of type {type(loaded).__name__}"
            )
            kind = "subclass of " if self._are_classes else ""
            raise plugin.error(f"is {found}, not a {kind}{' or '.join(each.__name__ for each in classes)}")
        return cast("T", loaded)

    def find(self, name: str) -> T:
        """The implementation of this name.

        Raises: UnknownImplementation: there is none, with the nearest name. InputError: see the class.
        """
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in plugins(self.group)

    def __iter__(self) -> Iterator[str]:
        yield from names(self.group, self.built_in)

    def __len__(self) -> int:
        return sum(1 for _ in self)
