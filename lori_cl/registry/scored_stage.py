"""Stages that are trained and scored: committed at once, or held back in a file for inspection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lori_cl.errors import ArtifactDamaged, WorkspaceUnusable
from lori_cl.registry.artifacts import write_durably
from lori_cl.registry.records import EARLIER_CACHED, Evaluation, Run, Stage, StatisticsRecord

if TYPE_CHECKING:
    from pydantic import TypeAdapter

EARLIER_PARENTS = "stood_on"
"""The name of `parent_stages` in files of earlier versions."""


@dataclass(frozen=True)
class ScoredStage:
    """A stage with all data needed to commit it; its files are already in the artifact store."""

    made_from: Mapping[str, Any]
    """All declared inputs that determine the training result and the scores."""
    parent_stages: tuple[tuple[str, int | None], ...]
    """(artifact, retired_after) of each earlier stage at the time of training."""
    stage: Stage
    evaluations: Sequence[Evaluation]
    files: Mapping[str, tuple[str, int]]
    """(suffix, bytes) by digest."""
    statistics: Sequence[StatisticsRecord]
    why: str = ""
    """The regression that caused it to be held back."""

    def write(self, file: Path) -> None:
        """Write it as indented JSON.

        Raises: WorkspaceUnusable, if it cannot be written.
        """
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_durably(file, _json().dump_json(self, indent=2))
        except OSError as error:
            raise WorkspaceUnusable(
                f"stage {self.stage.position} {self.stage.task} cannot be held back in {file}: "
                f"{error.strerror}; free disk space, then repeat the command to resume"
            ) from error

    def follows(self, run: Run) -> bool:
        """Whether the earlier stages are exactly the run's current stages."""
        return self.parent_stages == tuple((done.artifact, done.retired_after) for done in run.stages)

    @classmethod
    def read(cls, file: Path) -> ScoredStage | None:
        """Read a held-back stage, also of an earlier version; return None if the file does not exist.

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
                f"{file} cannot be read: {reason}; delete it to train the stage again"
            ) from None


@cache
def _json() -> TypeAdapter[ScoredStage]:
    from pydantic import BeforeValidator, TypeAdapter  # slow to import; registry readers do not need it

    return TypeAdapter(Annotated[ScoredStage, BeforeValidator(_in_current_words)])


def _in_current_words(value: Any) -> Any:
    """Replace the words of earlier versions; values that are not a held-back stage are validated next."""
    if not isinstance(value, dict):
        return value
    value = {"parent_stages" if key == EARLIER_PARENTS else key: each for key, each in value.items()}
    scores = value.get("evaluations")
    if isinstance(scores, list):
        value["evaluations"] = [_score_in_current_words(score) for score in scores]
    return value


def _score_in_current_words(score: Any) -> Any:
    if isinstance(score, dict) and score.get("source") == EARLIER_CACHED:
        return {**score, "source": "cached"}
    return score
