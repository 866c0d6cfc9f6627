"""Check that a curriculum sets only what its method reads."""

from __future__ import annotations

from lori_cl.errors import SpecError
from lori_cl.methods.base import Method
from lori_cl.registry import flatten
from lori_cl.spec import CurriculumSpec
from lori_cl.spec.method_settings import SECTIONS


def check_settings(curriculum: CurriculumSpec, method: type[Method]) -> None:
    """Check that the method reads every setting of `adapter`, `masks` and `settings` that is not the default.

    Raises: SpecError: it does not read one, or one of its own settings is invalid.
    """
    read = method.settings_class.reads()
    unread = [
        f"{section}.{field} ({value})"
        for section, spec in SECTIONS.items()
        for field, value in _changed(getattr(curriculum, section), spec())
        if f"{section}.{field.partition('.')[0]}" not in read
    ]
    if unread:
        raise SpecError(
            f"method '{curriculum.method}' does not read {', '.join(unread)}; remove "
            f"{'it' if len(unread) == 1 else 'them'}, or choose another method"
        )
    method.settings_class.of(curriculum)


def _changed(section: object, defaults: object) -> list[tuple[str, object]]:
    """Return (dotted field, value) of each setting of a section that differs from its default."""
    now, before = (flatten(spec.model_dump(mode="json")) for spec in (section, defaults))  # type: ignore[attr-defined]
    return [(field, value) for field, value in now.items() if before.get(field) != value]
