"""A task: a named, immutable declaration of data, prompt, kind, metric and seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lori_cl.spec.base import Count, Name, Spec


class Source(Spec):
    """Where a task's examples come from. Where both are named and the local copy is there, it is used."""

    local: str | None = None
    """A folder with `train.*` and `test.*`: beside the task's file, or under $LORI_CL_DATA."""
    hub: str | None = None
    """A data set id on the Hugging Face hub."""
    config: str | None = None
    """The hub data set's configuration (subset), where it has several."""
    revision: str | None = None
    """The commit of the hub data set, so that it cannot change under the task."""

    @model_validator(mode="after")
    def _names_a_source(self) -> Self:
        if self.local is None and self.hub is None:
            raise ValueError("source needs 'local' (a folder) or 'hub' (a data set id)")
        if self.hub is not None and self.revision is None:
            raise ValueError("a hub source needs 'revision' (a commit), so that the data cannot change")
        return self


class TrainSplit(Spec):
    """Which examples a task learns from."""

    split: str = "train"
    """The split's name; of a local source the file's name without its ending."""


class EvalSplit(Spec):
    """Which examples a task is scored on."""

    split: str = "test"
    """The split's name; of a local source the file's name without its ending."""
    limit: Count | None = None
    """Keep so many examples, drawn by the task's seed; None keeps all."""


class TaskSpec(Spec):
    """What every kind of task declares."""

    name: Name
    kind: str
    source: Source
    train: TrainSplit = TrainSplit()
    eval: EvalSplit = EvalSplit()
    seed: int = Field(default=0, strict=True, ge=0, lt=2**31)
    """Mixed into every seed drawn for this task."""
    description: str = ""

    def to_record(self) -> dict[str, Any]:
        """The declaration as JSON values, every default written out."""
        return self.model_dump(mode="json")


class TextColumns(Spec):
    """The columns of a classification data set."""

    text: str = "text"
    label: str = "label"


class ClassificationSpec(TaskSpec):
    """One label for each text."""

    kind: Literal["classification"]
    columns: TextColumns = TextColumns()
    labels: tuple[str, ...] = Field(min_length=2)
    """The label set; the order fixes the head's rows and what a whole-number label stands for."""
    prompt: str | None = None
    """A Jinja template over the data set's columns: the task is then asked of a causal language model, and
    the label with the likeliest words after the prompt is the answer. Without it, an encoder is asked."""
    label_words: tuple[str, ...] | None = None
    """What a causal language model may say, one a label; None means a space and the label itself."""
    normalise: Literal["none", "tokens", "bytes"] = "tokens"
    """What the log-likelihood of label words is divided by."""
    metric: Literal["accuracy", "f1_macro", "matthews"] = "accuracy"

    @property
    def words(self) -> tuple[str, ...]:
        """What a causal language model may say, in the labels' order."""
        return self.label_words or tuple(f" {label}" for label in self.labels)

    @model_validator(mode="after")
    def _words_fit_the_labels(self) -> Self:
        if self.label_words is None:
            return self
        if self.prompt is None:
            raise ValueError("label_words are for a causal language model, which needs 'prompt' too")
        if len(self.label_words) != len(self.labels) or len({*self.label_words, ""}) <= len(self.labels):
            raise ValueError(
                f"label_words are {len(self.label_words)} and labels {len(self.labels)}; "
                "give every label words of its own"
            )
        return self

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"labels name '{twice[0]}' twice")
        bare = [label for label in labels if label != label.strip() or not label]
        if bare:
            raise ValueError(f"the label '{bare[0]}' is empty, or has spaces around it")
        return labels


class GenerationSpec(TaskSpec):
    """A text to write after a prompt."""

    kind: Literal["generation"]
    prompt: str
    """A Jinja template over the data set's columns."""
    answer: str
    """A Jinja template over the data set's columns: what is to be written after the prompt."""
    max_new_tokens: Count = 64
    stop: tuple[str, ...] = ()
    """Texts that end an answer; they are not part of it."""
    metric: Literal["exact_match", "numeric_match", "f1", "rouge_l", "sentence_bleu"] = "exact_match"

    @field_validator("stop")
    @classmethod
    def _stops_are_texts(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if "" in stop:
            raise ValueError("stop names an empty text, so no answer would ever begin")
        return stop


class MultipleChoiceSpec(TaskSpec):
    """A few texts, of which one belongs after a prompt."""

    kind: Literal["multiple_choice"]
    prompt: str
    """A Jinja template over the data set's columns."""
    choices: tuple[str, ...] | str
    """Jinja templates, one a choice; or the name of a column that holds a list of texts."""
    answer: str
    """A Jinja template over the data set's columns: which choice is right, in the sense of `answer_is`."""
    answer_is: Literal["position", "number", "letter", "text"] = "position"
    """A position counts from 0, a number from 1, a letter from A; a text is the choice itself."""
    allow_unequal: bool = False
    """Whether rows may have different numbers of choices."""
    normalise: Literal["none", "tokens", "bytes"] = "none"
    """What a choice's log-likelihood is divided by, so that a long choice is not unlikely for its length."""
    metric: Literal["accuracy"] = "accuracy"


TASK_SPECS: Mapping[str, type[TaskSpec]] = {
    "classification": ClassificationSpec,
    "generation": GenerationSpec,
    "multiple_choice": MultipleChoiceSpec,
}
"""The declaration of each kind; its behaviour stands in `lori_cl/tasks/kinds/`."""


def task_from_record(record: Mapping[str, Any]) -> TaskSpec:
    """The declaration that `TaskSpec.to_record` wrote down."""
    return TASK_SPECS[record["kind"]].model_validate(dict(record))
