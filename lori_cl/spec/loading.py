"""Load and validate YAML specs; an error is one line with the file, the line and the problem."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from lori_cl.errors import SpecError, suggestion
from lori_cl.spec.base import Spec
from lori_cl.spec.curriculum import CurriculumSpec
from lori_cl.spec.error_messages import dotted, shown, validation_message
from lori_cl.spec.kinds import TASK_SPECS
from lori_cl.spec.task import WRITTEN_BY_ADD_TASK, TaskSpec
from lori_cl.spec.yaml_lines import YAML_ERRORS, Document, Location, parse, read_document

S = TypeVar("S", bound=Spec)

Known = Mapping[str, Collection[str]]
"""Dotted field name → allowed names: {"method": ["lori", …]}."""


def load_task(path: Path) -> TaskSpec:
    """Read and validate one task file.

    Raises: SpecError, naming the file, the line, what is wrong and the nearest valid name.
    """
    document = read_document(path)
    kind = document.data.get("kind")
    if kind is None:
        raise SpecError(
            f"{document.where(())}: 'kind' is missing from a task; use one of {_list(TASK_SPECS)}"
        )
    _require_known(document, {}, ("kind",), kind, TASK_SPECS)
    for field in WRITTEN_BY_ADD_TASK:
        if field in document.data:
            raise SpecError(f"{document.where((field,))}: '{field}' is written by add-task; remove it")
    return _validate(TASK_SPECS[kind], document, {}, "task")


def load_curriculum(path: Path, settings: Sequence[str] = (), known: Known | None = None) -> CurriculumSpec:
    """Read and validate one curriculum file; `key=value` settings override its fields.

    `known` holds the allowed names that other packages define (methods, strategies, registered tasks).
    Raises: SpecError, naming the file and line (or the setting), what is wrong and the nearest valid name.
    """
    document = read_document(path)
    origins = {location: setting for setting in settings for location in [_apply(document.data, setting)]}
    spec = _validate(CurriculumSpec, document, origins, "curriculum")
    for field, names in (known or {}).items():
        location: Location = tuple(field.split("."))
        value = _value_at(spec, location)
        if value is None:
            continue
        items = enumerate(value) if isinstance(value, tuple) else [(None, value)]
        for index, name in items:
            place = location if index is None else (*location, index)
            _require_known(document, origins, place, name, names)
    return spec


def _validate(model: type[S], document: Document, origins: Mapping[Location, str], kind: str) -> S:
    try:
        return model.model_validate(document.data)
    except ValidationError as failure:
        first = failure.errors()[0]
        more = f" (and {failure.error_count() - 1} more)" if failure.error_count() > 1 else ""
        place = _origin(document, origins, first["loc"])
        raise SpecError(f"{place}: {validation_message(first, model, kind)}{more}") from None


def _origin(document: Document, origins: Mapping[Location, str], location: Location) -> str:
    for end in range(len(location), 0, -1):
        if location[:end] in origins:
            return f"--set {origins[location[:end]]}"
    if location and location not in document.lines:
        for place, setting in origins.items():
            if place[: len(location)] == location:
                return f"--set {setting}"
    return document.where(location)


def _apply(data: dict[str, Any], setting: str) -> Location:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise SpecError(f"--set {setting}: write key=value, for instance --set train.limit=200")
    try:
        _, value = parse(text)
    except YAML_ERRORS:
        value = text
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise SpecError(f"--set {setting}: '{parent}' is a value, not a section with fields")
    data[last] = value
    return (*parents, last)


def _require_known(
    document: Document, origins: Mapping[Location, str], location: Location, name: Any, names: Collection[str]
) -> None:
    if isinstance(name, str) and name in names:
        return
    place = _origin(document, origins, location)
    near = suggestion(shown(name).strip("'"), names) or f" Available: {_list(names)}."
    raise SpecError(f"{place}: unknown {dotted(location)} {shown(name)}.{near}")


def _value_at(spec: Spec, location: Location) -> Any:
    value: Any = spec
    for part in location:
        value = getattr(value, str(part))
    return value


def _list(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none yet"
