"""What every spec shares: frozen, no unknown fields, whole numbers that are whole."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

T = TypeVar("T", bound=Hashable)

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
"""A name that is safe in a file name and on a command line."""

RUN_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,159}")
"""A run's name; long enough for curriculum-method-seed."""

Count = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
"""A whole number of at least one."""


def twice(values: Sequence[T]) -> T | None:
    """The first value that stands a second time; None where all differ."""
    seen: set[T] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):  # YAML 1.1 reads `yes` as true, and pydantic true as 1.0
        raise PydanticCustomError("number", "Input should be a number")
    return value


Number = Annotated[float, BeforeValidator(_no_truth_value)]
"""A finite number; YAML 1.1 reads 5e-3 as text, which is taken as well."""


class Spec(BaseModel):
    """A frozen declaration that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
