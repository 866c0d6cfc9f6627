"""A stage that was trained and scored and is not accepted: kept beside the registry, to be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lori_cl.errors import ArtifactDamaged
from lori_cl.registry.artifacts import write_durably
from lori_cl.registry.records import Evaluation, Stage, StatisticsRecord

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True)
class SetAside:
    """All that a commit of the stage takes; its files are among the artifacts already."""

    settings: Mapping[str, Any]
    """All that what the stage learned depended on."""
    stage: Stage
    evaluations: Sequence[Evaluation]
    files: Mapping[str, tuple[str, int]]
    """(suffix, bytes) by digest."""
    statistics: Sequence[StatisticsRecord]
    why: str = ""
    """What it cost."""

    def write(self, file: Path) -> None:
        """Keep it, as JSON that can be read."""
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(file, _json().dump_json(self, indent=2))

    @classmethod
    def read(cls, file: Path) -> SetAside | None:
        """None where there is none.

        Raises: ArtifactDamaged.
        """
        try:
            content = file.read_bytes()
            return _json().validate_json(content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ArtifactDamaged(
                f"{file} cannot be read: {reason}; remove it to train the stage again"
            ) from None


@cache
def _json() -> TypeAdapter[SetAside]:
    from pydantic import TypeAdapter  # slow to import; readers of a registry do without it

    return TypeAdapter(SetAside)
