"""Fields of a task of lm-evaluation-harness."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from lori_cl.spec.base import Count
from lori_cl.spec.error_messages import shown
from lori_cl.spec.task import Source, TaskSpec

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,199}")


class LMEvalSpec(TaskSpec):
    """A task of lm-evaluation-harness, which reads the data, writes the prompts and grades the answers."""

    omitted_if_none: ClassVar[frozenset[str]] = TaskSpec.omitted_if_none | {
        "filter",
        "num_fewshot",
        "harness_version",
    }

    kind: Literal["lm-eval"]
    task: str
    """Its name in lm-evaluation-harness, such as `hellaswag`."""
    score: str = "acc"
    """The metric of lm-evaluation-harness that is the score, such as `acc_norm` or `exact_match`. It must be
    a number from 0 to 1 for each example."""
    filter: str | None = None
    """The filter of the answers, such as `strict-match`; None means the first one of the task."""
    num_fewshot: int | None = Field(default=None, strict=True, ge=0, le=1_000)
    """Number of examples in the prompt; None means the task's own number."""
    batch_size: Count = 16
    """Number of requests in a batch."""
    harness_version: str | None = None
    """The version of lm-evaluation-harness. Written by `add-task`; not allowed in a task file."""
    metric: Literal["lm-eval"] = "lm-eval"
    source: Source = Source(local=".")
    """Not used: lm-evaluation-harness knows the data set."""
    eval_only: Literal[True] = True
    """Such a task is never trained."""

    @field_validator("task")
    @classmethod
    def _require_name(cls, task: str) -> str:
        # lm-evaluation-harness also loads files and patterns, and a definition may contain code.
        if not NAME.fullmatch(task) or task.endswith((".yaml", ".yml", ".py")):
            raise ValueError(
                f"task should be a name of lm-evaluation-harness, such as hellaswag, not {shown(task)}"
            )
        return task
