"""The settings that a method reads, as one frozen model for each method."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from lori_cl.plugins import plugins
from lori_cl.spec.base import Number, Spec
from lori_cl.spec.curriculum import AdapterSpec, CurriculumSpec, MasksSpec
from lori_cl.spec.error_messages import as_spec_error

SECTIONS: dict[str, type[Spec]] = {"adapter": AdapterSpec, "masks": MasksSpec}
"""Sections of a curriculum that several methods read; a field of no section belongs to `settings`."""


class MethodSettings(Spec):
    """Settings of one method. A field named like one of `adapter` or `masks` is that field of the curriculum;
    every other field is the method's own, and is in the curriculum's section `settings`.

    Raises: SpecError: an argument is unknown, or its value is invalid.
    """

    method: ClassVar[str]
    """The method's name in a curriculum."""

    capacity_text: ClassVar[str] = "No cells are reserved for a task, so the number of tasks has no limit."
    """What reports say about the capacity of a method without masks; for one with masks they count cells."""

    def __init__(self, **values: Any) -> None:
        with as_spec_error(type(self).__name__, type(self), "method"):
            super().__init__(**values)

    @classmethod
    def section_of(cls, field: str) -> str:
        """Return the curriculum's section of a field: `adapter`, `masks` or `settings`."""
        return next((name for name, spec in SECTIONS.items() if field in spec.model_fields), "settings")

    @classmethod
    def reads(cls) -> frozenset[str]:
        """Return the dotted fields of a curriculum that the method reads."""
        return frozenset(f"{cls.section_of(field)}.{field}" for field in cls.model_fields)

    @classmethod
    def of(cls, curriculum: CurriculumSpec) -> Self:
        """Return the method's settings in a curriculum.

        Raises: SpecError: a field of `settings` is unknown, or its value is invalid.
        """
        shared = {
            field: getattr(getattr(curriculum, section), field)
            for field in cls.model_fields
            if (section := cls.section_of(field)) in SECTIONS
        }
        return cls(**{**shared, **curriculum.settings})

    def sections(self) -> dict[str, Any]:
        """Return the fields that were set, as the sections of a curriculum."""
        found: dict[str, dict[str, Any]] = {}
        for field in sorted(self.model_fields_set):
            found.setdefault(self.section_of(field), {})[field] = getattr(self, field)
        own = found.pop("settings", {})
        named: dict[str, Any] = {section: SECTIONS[section](**fields) for section, fields in found.items()}
        if own:
            named["settings"] = type(self)(**own).model_dump(mode="json", include=set(own))
        return named


class LoRI(AdapterSpec, MasksSpec, MethodSettings):
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


class SequentialLoRA(MethodSettings):
    """The baseline: one plain LoRA, trained on each task in turn.

    Raises: SpecError: an argument is unknown, or its value is invalid.

    Example:
        >>> import lori_cl as cl
        >>> cl.SequentialLoRA(rank=8).rank
        8
    """

    method = "sequential-lora"
    capacity_text = (
        "Every stage overwrites the whole adapter: no cells are reserved for a task, so the as_trained view "
        "needs one full copy of the adapter for each task."
    )

    rank: int = Field(default=32, strict=True, ge=1, le=16_384)
    alpha: Number = Field(default=64.0, gt=0)
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"


BUILT_IN: dict[str, type[MethodSettings]] = {settings.method: settings for settings in (LoRI, SequentialLoRA)}


def capacity_text(method: str) -> str:
    """Return what a method without masks says about capacity, for reports.

    Source: a built-in method's settings, which import no torch; otherwise the plugin's method, if installed.
    """
    if method in BUILT_IN:
        return BUILT_IN[method].capacity_text
    plugin = plugins("lori_cl.methods").get(method)
    loaded = plugin.load() if plugin else None
    settings: type[MethodSettings] = getattr(loaded, "settings_class", MethodSettings)
    return settings.capacity_text
