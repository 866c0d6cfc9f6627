"""What every spec shares: frozen, no unknown fields, whole numbers that are whole."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
"""A name that is safe in a file name and on a command line."""

Count = Annotated[int, Field(strict=True, ge=1)]
"""A whole number of at least one."""


class Spec(BaseModel):
    """A frozen declaration that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)
