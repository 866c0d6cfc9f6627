"""The settings of each method, as Python objects."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ValidationError

from lori_cl.errors import SpecError
from lori_cl.spec import AdapterSpec, MasksSpec
from lori_cl.spec.base import Spec
from lori_cl.spec.error_messages import validation_message


class Settings(Spec):
    """Settings of one method; they are frozen, and an unknown or invalid one is a SpecError."""

    method: ClassVar[str]
    """The method's name in a curriculum."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as failure:
            problem = validation_message(failure.errors()[0], type(self), "method")
            raise SpecError(f"{type(self).__name__}: {problem}") from None

    def sections(self) -> dict[str, Spec]:
        """The settings as the sections of a curriculum, by the section's name."""
        raise NotImplementedError


def _section(kind: type[Spec], settings: Settings) -> Spec:
    """The settings that the section has, only those that were set."""
    named = kind.model_fields.keys() & settings.model_fields_set
    return kind(**{name: getattr(settings, name) for name in named})


class LoRI(AdapterSpec, MasksSpec, Settings):
    """Sparse cells per task under frozen projections A; cells of earlier tasks never change.

    The arguments are the fields of `adapter` and `masks` in a curriculum: docs/configuration.md.
    Source: LoRI (Zhang et al., COLM 2025).

    Raises: SpecError: an argument is unknown, or its value is invalid.

    Example:
        >>> import lori_cl as cl
        >>> cl.LoRI(rank=16, density=0.2).density
        0.2
    """

    method = "lori"

    def sections(self) -> dict[str, Spec]:
        """`adapter` and `masks`."""
        return {"adapter": _section(AdapterSpec, self), "masks": _section(MasksSpec, self)}


class SequentialLoRA(Settings):
    """The baseline: one plain LoRA, trained on each task in turn.

    Raises: SpecError: an argument is unknown, or its value is invalid.

    Example:
        >>> import lori_cl as cl
        >>> cl.SequentialLoRA(rank=8).rank
        8
    """

    method = "sequential-lora"

    rank: int = 32
    alpha: float = 64.0
    targets: Any = "all-linear"

    def sections(self) -> dict[str, Spec]:
        """`adapter`."""
        return {"adapter": _section(AdapterSpec, self)}
