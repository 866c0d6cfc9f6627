"""Task specs: a named, immutable declaration of data, prompt, kind, metric and seed."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from lori_cl.spec.base import Count, Name, Number, Spec
from lori_cl.spec.error_messages import shown
from lori_cl.spec.judge import JudgeSpec

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
"""OWNER/NAME. Excludes names that `datasets` would treat as a folder or as one of its own readers."""

WRITTEN_BY_ADD_TASK = ("skipped", "scorer_source", "harness_version")
"""Fields of a registered task that a task file must not have."""


class Source(Spec):
    """Where a task's examples come from. With both `local` and `hub`, an existing local copy is used."""

    local: str | None = None
    """A folder with `train.*` and `test.*`, or one data file with `eval.fraction`. A relative path is
    looked up next to the task's file, then in $LORI_CL_DATA, and must not leave that folder, including
    through a link. An absolute path may be anywhere."""
    hub: str | None = None
    """A data set id on the Hugging Face hub, OWNER/NAME."""
    config: str | None = None
    """The configuration (subset) of the hub data set, if it has several."""
    revision: str | None = None
    """The commit of the hub data set, so that it cannot change under the task."""
    skip_invalid: int = Field(default=0, strict=True, ge=0, lt=2**31)
    """Maximum number of invalid rows of a split to skip and report; with more, the split is rejected."""
    unverified: bool = False
    """Marks a source that was not checked against the declaration yet. Only an unverified hub data set may
    omit `revision`."""

    @field_validator("hub")
    @classmethod
    def _check_hub_id(cls, hub: str | None) -> str | None:
        if hub is not None and (not HUB_ID.fullmatch(hub) or ".." in hub):
            raise ValueError(f"source.hub should be a data set's OWNER/NAME on the hub, not {shown(hub)}")
        return hub

    @model_validator(mode="after")
    def _require_source(self) -> Self:
        if self.local is None and self.hub is None:
            raise ValueError("source needs 'local' (a folder or a file) or 'hub' (a data set id)")
        if self.hub is not None and self.revision is None and not self.unverified:
            raise ValueError("a hub source needs 'revision' (a commit), so that the data cannot change")
        return self


class TrainSplit(Spec):
    """The examples that a task trains on."""

    split: str = "train"
    """The name of the split; for a local source, the file name without its extension."""
    source: Source | None = None
    """The source of the training examples, if it differs from the source of the eval set."""


class EvalSplit(Spec):
    """The examples that a task is scored on."""

    omitted_if_none: ClassVar[frozenset[str]] = frozenset({"fraction"})

    split: str = "test"
    """The name of the split; for a local source, the file name without its extension."""
    limit: Count | None = None
    """Number of examples, drawn with the task's seed; None keeps all."""
    fraction: Number | None = Field(default=None, gt=0, lt=1)
    """The fraction of the source's training split to hold out as the eval set, such as 0.1. It replaces
    `split`. Each row is drawn by the task's seed and its input, so rows with equal inputs stay together."""


class SkippedRows(Spec):
    """Invalid rows of a split that were skipped."""

    split: str
    n: Count
    first: tuple[str, ...]
    """The problems of the first rows, each with its file and line."""

    def words(self) -> str:
        """Return a summary: 'skipped 3 invalid rows of test: FILE, line 4: …; …'."""
        rows = "1 invalid row" if self.n == 1 else f"{self.n:,} invalid rows"
        more = "; …" if self.n > len(self.first) else ""
        return f"skipped {rows} of {self.split}: {'; '.join(self.first)}{more}"


class TaskSpec(Spec):
    """The fields of every kind of task."""

    omitted_if_none: ClassVar[frozenset[str]] = frozenset({"scorer_source", "judge", "eval_only"})

    name: Name
    kind: str
    source: Source
    train: TrainSplit = TrainSplit()
    eval: EvalSplit = EvalSplit()
    eval_only: Literal[True] | None = None
    """Set to true for a task without training data, which a curriculum names in `eval.also`."""
    seed: int = Field(default=0, strict=True, ge=0, lt=2**31)
    """Part of every random seed that is derived for this task."""
    allow_duplicates: bool = False
    """Whether an eval example may also be a training example."""
    description: str = ""
    skipped: tuple[SkippedRows, ...] = ()
    """Rows that were skipped when the task was added. Written by `add-task`; not allowed in a task file."""
    judge: JudgeSpec | None = None
    """The language model that grades answers, for `metric: judge`."""
    scorer_source: str | None = None
    """The content of the file of `metric: FILE.py:FUNCTION`, as it was when the task was added. Written by
    `add-task`; not allowed in a task file."""

    @model_validator(mode="after")
    def _check_judge(self) -> Self:
        metric = getattr(self, "metric", None)
        if metric == "judge" and self.judge is None:
            raise ValueError("metric: judge needs the section 'judge' with url, model and prompt")
        if metric != "judge" and self.judge is not None:
            raise ValueError(f"'judge' is not used by metric: {metric}; set metric: judge")
        return self

    @model_validator(mode="after")
    def _check_eval_only(self) -> Self:
        if self.eval_only and (self.eval.fraction is not None or self.train != type(self.train)()):
            raise ValueError("eval_only: true reads no training data; remove 'train' and 'eval.fraction'")
        return self

    @model_validator(mode="after")
    def _check_fraction(self) -> Self:
        if self.eval.fraction is None:
            return self
        if self.train.source is not None:
            raise ValueError(
                "eval.fraction splits 'source', so 'train.source' is not used; remove one of them"
            )
        if self.eval.split != EvalSplit().split:
            raise ValueError(
                f"eval.fraction holds out rows of the split '{self.train.split}', so eval.split "
                f"{shown(self.eval.split)} is not used; remove one of them"
            )
        return self

    @property
    def eval_split(self) -> str:
        """The split that the eval examples are read from."""
        return self.eval.split if self.eval.fraction is None else self.train.split

    @property
    def unverified(self) -> bool:
        """Whether one of its sources is unverified."""
        return self.source.unverified or (self.train.source is not None and self.train.source.unverified)

    def to_record(self) -> dict[str, Any]:
        """Return the declaration as JSON values, including every default."""
        # Without warnings: a metric may be the scorer of a plugin.
        return self.model_dump(mode="json", warnings=False)
