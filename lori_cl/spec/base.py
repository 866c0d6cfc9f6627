"""Base class and field types of all specs: frozen, no unknown fields, strict integers."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)
from pydantic_core import PydanticCustomError

T = TypeVar("T", bound=Hashable)

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
"""A name that is safe in file names and on a command line."""

RUN_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,159}")
"""The form of a run name; long enough for curriculum-method-seed."""

Count = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
"""An integer of at least 1."""


def first_duplicate(values: Sequence[T]) -> T | None:
    """Return the first value that occurs twice, or None if all values differ."""
    seen: set[T] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def _reject_bool(value: Any) -> Any:
    if isinstance(value, bool):  # YAML 1.1 reads `yes` as true, and pydantic converts true to 1.0
        raise PydanticCustomError("number", "Input should be a number")
    return value


Number = Annotated[float, BeforeValidator(_reject_bool)]
"""A finite number. Text such as 5e-3 is accepted too, because YAML 1.1 reads it as text."""


class Spec(BaseModel):
    """A frozen model that rejects unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    omitted_if_none: ClassVar[frozenset[str]] = frozenset()
    """Fields that a record omits if they are None, so that older records keep their digests."""

    @model_serializer(mode="wrap")
    def _omit_none(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        record: dict[str, Any] = serialise(self)
        omitted = self.omitted_if_none
        return {key: value for key, value in record.items() if value is not None or key not in omitted}
