"""A stage that was trained and scored and is not accepted: kept beside the registry, to be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lori_cl.errors import ArtifactDamaged, WorkspaceUnusable
from lori_cl.registry.artifacts import write_durably
from lori_cl.registry.records import Evaluation, Run, Stage, StatisticsRecord

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True)
class SetAside:
    """All that a commit of the stage takes; its files are among the artifacts already."""

    made_from: Mapping[str, Any]
    """All that was declared and decides what the stage learned and scored."""
    stood_on: tuple[tuple[str, int | None], ...]
    """(artifact, retired_after) of each stage before it, when it was learned."""
    stage: Stage
    evaluations: Sequence[Evaluation]
    files: Mapping[str, tuple[str, int]]
    """(suffix, bytes) by digest."""
    statistics: Sequence[StatisticsRecord]
    why: str = ""
    """What it cost."""

    def write(self, file: Path) -> None:
        """Keep it, as JSON that can be read.

        Raises: WorkspaceUnusable, if it cannot be written.
        """
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_durably(file, _json().dump_json(self, indent=2))
        except OSError as error:
            raise WorkspaceUnusable(
                f"stage {self.stage.position} {self.stage.task} cannot be set aside in {file}: "
                f"{error.strerror}; make room, and the same command goes on"
            ) from error

    def follows(self, run: Run) -> bool:
        """Whether the stages before it are those that the run has, as they are now."""
        return self.stood_on == tuple((done.artifact, done.retired_after) for done in run.stages)

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
