"""A curriculum as a Python object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from lori_cl.spec import CurriculumSpec, load_curriculum
from lori_cl.spec.error_messages import as_spec_error
from lori_cl.spec.method_settings import MethodSettings


class Curriculum(CurriculumSpec):
    """Base model, method, settings, and an ordered list of tasks.

    Args:
        model: A hub id, a local folder, `package:NAME/FOLDER`, or a mapping with `path`, `revision`, `dtype`.
        tasks: Names of registered tasks in the order in which they are trained; `name@2` is a version.
        method: `cl.LoRI(...)`, `cl.SequentialLoRA(...)`, or a method's name.
        seed: The run's seed.
        train, eval: `cl.Train(...)` and `cl.Eval(...)`, or mappings with their fields.
        name: A part of the default name of a run.

    Raises: SpecError: a field is unknown, or its value is invalid.

    Example:
        >>> import lori_cl as cl
        >>> plan = cl.Curriculum(model="org/model", tasks=["sst2"], method=cl.LoRI(rank=16))
        >>> plan.method, plan.adapter.rank
        ('lori', 16)
    """

    def __init__(self, **fields: Any) -> None:
        with as_spec_error("Curriculum", CurriculumSpec, "curriculum"):
            super().__init__(**fields)

    @classmethod
    def from_file(cls, path: str | Path, settings: Sequence[str] = ()) -> Self:
        """Read a curriculum's YAML file; each setting is KEY=VALUE and overrides a value of the file.

        Raises: SpecError: the file or a setting is invalid; the message names the line.
        """
        read = load_curriculum(Path(path), settings)
        return cls(**{name: getattr(read, name) for name in read.model_fields_set})

    @model_validator(mode="before")
    @classmethod
    def _from_objects(cls, fields: Any) -> Any:
        """Resolve a method's settings into sections, and a model's path into a section."""
        if not isinstance(fields, Mapping):
            return fields
        fields = {"name": "curriculum", **fields}
        if isinstance(fields.get("model"), str | Path):
            fields["model"] = {"path": str(fields["model"])}
        if isinstance(settings := fields.get("method"), MethodSettings):
            sections = settings.sections()
            if (twice := next(iter(sections.keys() & fields.keys()), None)) is not None:
                raise ValueError(f"'{twice}' is given twice: by method and by '{twice}'; remove one")
            fields |= {"method": settings.method, **sections}
        return fields
