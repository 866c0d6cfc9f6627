"""A task: a named, immutable declaration of data, prompt, kind, metric and seed."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from lori_cl.spec.base import Count, Name, Spec
from lori_cl.spec.complaints import shown

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
"""OWNER/NAME: what `datasets` would take for a folder, or for one of its own readers, is none."""


class Source(Spec):
    """Where a task's examples come from. Where both are named and the local copy is there, it is used."""

    local: str | None = None
    """A folder with `train.*` and `test.*`: beside the task's file, or under $LORI_CL_DATA, which a relative
    path must not leave, be it by a link; an absolute path may lie anywhere."""
    hub: str | None = None
    """A data set id on the Hugging Face hub, OWNER/NAME."""
    config: str | None = None
    """The hub data set's configuration (subset), where it has several."""
    revision: str | None = None
    """The commit of the hub data set, so that it cannot change under the task."""
    skip_invalid: int = Field(default=0, strict=True, ge=0, lt=2**31)
    """How many invalid rows of a split are skipped, named and counted; one more refuses the split."""
    unverified: bool = False
    """Nobody has checked yet that the source gives what the declaration says; only then a hub data set may
    be named without its revision."""

    @field_validator("hub")
    @classmethod
    def _names_a_data_set(cls, hub: str | None) -> str | None:
        if hub is not None and (not HUB_ID.fullmatch(hub) or ".." in hub):
            raise ValueError(f"source.hub should be a data set's OWNER/NAME on the hub, not {shown(hub)}")
        return hub

    @model_validator(mode="after")
    def _names_a_source(self) -> Self:
        if self.local is None and self.hub is None:
            raise ValueError("source needs 'local' (a folder) or 'hub' (a data set id)")
        if self.hub is not None and self.revision is None and not self.unverified:
            raise ValueError("a hub source needs 'revision' (a commit), so that the data cannot change")
        return self


class TrainSplit(Spec):
    """Which examples a task learns from."""

    split: str = "train"
    """The split's name; of a local source the file's name without its ending."""
    source: Source | None = None
    """Another source than the one that the task is scored on."""


class EvalSplit(Spec):
    """Which examples a task is scored on."""

    split: str = "test"
    """The split's name; of a local source the file's name without its ending."""
    limit: Count | None = None
    """Keep so many examples, drawn by the task's seed; None keeps all."""


class SkippedRows(Spec):
    """Invalid rows of a split that were left out of a task."""

    split: str
    n: Count
    first: tuple[str, ...]
    """What is wrong with the first ones, each with its file and place."""

    def words(self) -> str:
        """'skipped 3 invalid rows of test: FILE, line 4: …; …'."""
        rows = "1 invalid row" if self.n == 1 else f"{self.n:,} invalid rows"
        more = "; …" if self.n > len(self.first) else ""
        return f"skipped {rows} of {self.split}: {'; '.join(self.first)}{more}"


class TaskSpec(Spec):
    """What every kind of task declares."""

    name: Name
    kind: str
    source: Source
    train: TrainSplit = TrainSplit()
    eval: EvalSplit = EvalSplit()
    seed: int = Field(default=0, strict=True, ge=0, lt=2**31)
    """Mixed into every seed drawn for this task."""
    allow_duplicates: bool = False
    """Whether an eval example may stand among the training examples, too."""
    description: str = ""
    skipped: tuple[SkippedRows, ...] = ()
    """Rows that were skipped when the task was added; `add-task` writes it, no task file does."""

    @property
    def unverified(self) -> bool:
        """Whether a source of it is unverified."""
        return self.source.unverified or (self.train.source is not None and self.train.source.unverified)

    def to_record(self) -> dict[str, Any]:
        """The declaration as JSON values, every default written out."""
        return self.model_dump(mode="json")
