"""A curriculum: base model, method, adapter and training settings, and an ordered list of tasks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lori_cl.errors import SpecError
from lori_cl.spec.base import RUN_NAME, Count, Name, Number, Spec, twice
from lori_cl.spec.complaints import shown


class View(StrEnum):
    """Which cells are active when a task is scored."""

    AS_TRAINED = "as_trained"
    """The adapter as it stood when that task's stage ended."""
    CURRENT = "current"
    """Everything learned so far: what a model without a task id runs."""
    ROUTED = "routed"
    """The task is guessed from each text; the guessed task's `as_trained` cells and head answer."""


class ModelSpec(Spec):
    """The frozen base model."""

    path: str = Field(min_length=1)
    """A hub id, a local folder, or `package:NAME/FOLDER` for weights inside an installed package."""
    revision: str | None = None
    """The commit of a hub model."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the frozen weights are held in; the adapter's values are always float32."""


class NullSpaceSpec(Spec):
    """How much of each site's inputs `projection: null-space` keeps later tasks away from."""

    energy: Number = Field(default=0.95, gt=0, le=1)
    """Fraction of a task's input energy (the trace of the inputs' second moment) that is protected."""
    max_directions: Count | None = None
    """Directions that one task may take of a site's inputs at most; None sets no limit."""
    examples: Count = 256
    """Training examples that the second moment is gathered over."""
    min_free: Count | None = None
    """Free input directions a site must have for a task to begin; None means the adapter's rank."""


class AdapterSpec(Spec):
    """The adapter: ΔW = alpha / rank · (B ⊙ M) A at every site."""

    rank: int = Field(default=32, strict=True, ge=1, le=16_384)
    alpha: Number = Field(default=64.0, gt=0)
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """`all-linear`, or the ends of module names, such as [q_proj, v_proj]."""
    projection: Literal["shared", "per-task", "orthogonal", "null-space"] = "shared"
    """`shared`: one frozen A for the whole run. `per-task`: one for each task. `orthogonal`: one for each
    task, orthogonal to all earlier ones. `null-space`: one for each task, blind to what earlier tasks feed
    in."""
    distribution: Literal["uniform", "normal"] = "uniform"
    """What A is drawn from: U(±1/√d_in), or a normal of the same variance, 1/(3·d_in)."""
    kept_in: Literal["float32", "bfloat16"] = "float32"
    """What a stage's values are kept in. They train in float32; bfloat16 rounds them once, before the stage
    is scored, so that what is scored is what is kept."""
    composition: Literal["stacked", "isolated"] = "stacked"
    """`stacked`: a task trains on top of all earlier cells. `isolated`: from the base model alone."""
    grow: Count | None = None
    """Rows that A and B are lengthened by whenever a task finds too few free cells; None never grows."""
    null_space: NullSpaceSpec = NullSpaceSpec()

    @model_validator(mode="after")
    def _sets_what_its_projection_reads(self) -> Self:
        if self.projection != "null-space" and self.null_space != NullSpaceSpec():
            raise ValueError(
                f"'adapter.null_space' is read by adapter.projection: null-space alone, and it is "
                f"{self.projection}; set the one or leave out the other"
            )
        return self

    @field_validator("targets", mode="before")
    @classmethod
    def _names_targets(cls, value: Any) -> Any:
        listed = isinstance(value, list | tuple) and value and all(isinstance(v, str) and v for v in value)
        if value != "all-linear" and not listed:
            wanted = "'all-linear' or a list such as [q_proj, v_proj]"
            raise ValueError(f"'adapter.targets' should be {wanted}, not {shown(value)}")
        return value


class CalibrationSpec(Spec):
    """What `magnitude` (a short dense training, LoRI-D) and `gradient` masks are read from."""

    epochs: Number | None = Field(default=None, gt=0)
    """Passes over the training examples; None means as many as the stage itself for `magnitude`, and a
    twentieth of one for `gradient`."""
    lr: Number | None = Field(default=None, gt=0, le=1e30)
    """Learning rate; None means a tenth of `train.lr`, as in LoRI's published settings (5e-5 to 5e-4)."""


class MasksSpec(Spec):
    """How each task's cells are chosen from the free ones."""

    strategy: str = "magnitude"
    budget: Literal["density", "even"] = "density"
    """`density`: every task claims that fraction of all cells. `even`: the tasks that are not learned yet
    divide the free cells."""
    density: Number = Field(default=0.1, gt=0, le=1)
    """Fraction of all cells that one task claims; 1.0 is LoRI-D."""
    granularity: Literal["model", "module", "projection", "layer", "matrix"] = "model"
    """Within what cells compete: the whole model; attention and MLP; all sites of one name; a layer; a
    site."""
    overlap: Literal["forbid", "allow"] = "forbid"
    """Whether a task may claim cells that another one owns, as in the paper."""
    freeze: bool = True
    """Whether earlier cells stay as they are; False carries B on, as in the paper, and needs overlap:
    allow."""
    calibration: CalibrationSpec = CalibrationSpec()

    @model_validator(mode="after")
    def _counts_cells_in_one_way(self) -> Self:
        if self.budget == "even" and self.density != type(self).model_fields["density"].default:
            raise ValueError(
                f"'masks.budget: even' divides the free cells, so 'masks.density: {self.density:g}' would "
                "count for nothing; leave out one of them"
            )
        return self

    @model_validator(mode="after")
    def _carries_on_only_what_may_overlap(self) -> Self:
        if not self.freeze and self.overlap == "forbid":
            raise ValueError(
                "'masks.freeze: false' trains earlier cells on, which 'masks.overlap: forbid' rules out; "
                "set masks.overlap: allow"
            )
        return self

    @model_validator(mode="after")
    def _divides_only_what_runs_out(self) -> Self:
        if self.budget == "even" and self.overlap == "allow":
            raise ValueError(
                "'masks.budget: even' divides the free cells, and with 'masks.overlap: allow' all are always "
                "free; set masks.budget: density"
            )
        return self


class TrainSpec(Spec):
    """How one stage trains; everything here is handed to transformers.Trainer."""

    epochs: Number = Field(default=1.0, gt=0, le=1e6)
    epochs_of: dict[Name, Annotated[Number, Field(gt=0, le=1e6)]] = Field(default={})
    """By a task's name: as many epochs instead."""
    batch_size: Count = 32
    """Examples a step and device."""
    lr: Number | None = Field(default=None, gt=0, le=1e30)
    """Peak learning rate of the adapter; None means the method's own default."""
    head_lr: Number = Field(default=5e-3, gt=0, le=1e30)
    """Peak learning rate of a classification head."""
    max_length: Count = 128
    """Tokens; longer texts are truncated and counted."""
    limit: Count | None = None
    """Learn from so many training examples, drawn by the task's seed; None takes all."""
    optimizer: str = "adamw_torch"
    """A name that transformers.TrainingArguments knows as `optim`."""
    weight_decay: Number = Field(default=0.0, ge=0)
    """Decay of this stage's own cells and head; earlier cells cannot decay."""
    scheduler: str = "constant"
    """A name that transformers.TrainingArguments knows as `lr_scheduler_type`."""
    warmup_steps: int = Field(default=0, ge=0, strict=True)
    gradient_accumulation: Count = 1
    """Batches a step."""
    max_grad_norm: Number = Field(default=1.0, ge=0)
    """Clip the gradient's norm; 0 does not clip."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Mixed precision of the forward and backward pass."""
    gradient_checkpointing: bool = False
    save_steps: Count | None = 500
    """Optimizer steps between checkpoints, which a stage that was killed goes on from; None keeps none."""
    loggers: tuple[str, ...] = ()
    """Names that transformers.TrainingArguments knows as `report_to`."""

    def epochs_for(self, task: str) -> float:
        """Passes over the training examples of a task, by its name."""
        return self.epochs_of.get(task, self.epochs)


class EvalSpec(Spec):
    """How tasks are scored after every stage."""

    limit: Count | None = None
    """Score so many examples of a task's eval set, drawn by the task's seed; None scores all."""
    batch_size: Count = 64
    views: tuple[View, ...] = Field(default=(View.AS_TRAINED, View.CURRENT), min_length=1)

    @field_validator("views")
    @classmethod
    def _names_each_view_once(cls, views: tuple[View, ...]) -> tuple[View, ...]:
        if (view := twice(views)) is not None:
            raise ValueError(f"'eval.views' names '{view}' twice")
        return views


class CurriculumSpec(Spec):
    """What `lori-cl run` is given."""

    name: Name
    model: ModelSpec
    method: str = "lori"
    tasks: tuple[str, ...] = Field(min_length=1)
    seed: int = Field(default=0, strict=True, ge=0, lt=2**31)
    adapter: AdapterSpec = AdapterSpec()
    masks: MasksSpec = MasksSpec()
    train: TrainSpec = TrainSpec()
    eval: EvalSpec = EvalSpec()

    @model_validator(mode="after")
    def _carries_on_one_b(self) -> Self:
        apart = (self.adapter.projection, self.adapter.composition) != ("shared", "stacked")
        if not self.masks.freeze and apart:
            raise ValueError(
                "'masks.freeze: false' carries one B on from task to task, which needs "
                "adapter.projection: shared and adapter.composition: stacked"
            )
        return self

    @model_validator(mode="after")
    def _grows_only_where_cells_run_out(self) -> Self:
        if self.adapter.grow and (self.masks.budget, self.masks.overlap) != ("density", "forbid"):
            raise ValueError(
                "'adapter.grow' makes room for a task that finds too few free cells, which none does with "
                "masks.budget: even or masks.overlap: allow; leave it out"
            )
        return self

    @field_validator("tasks")
    @classmethod
    def _names_each_task_once(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if (task := twice(tasks)) is not None:
            raise ValueError(
                f"tasks name '{task}' twice; to learn it again, change its file and add it: "
                "it becomes a new version"
            )
        return tasks

    def run_name(self, given: str | None) -> str:
        """The name that the user gave, or else curriculum-method-seed.

        Raises: SpecError, if the name is none for a file or a command line.
        """
        if given is None:
            return self.default_run_name
        if not RUN_NAME.fullmatch(given):
            raise SpecError(
                f"a run cannot be named {shown(given)}: use at most 160 of a-z, 0-9, '_', '.' and '-', "
                "beginning with a letter or digit"
            )
        return given

    @property
    def default_run_name(self) -> str:
        """The run's name where the user gives none: curriculum-method-seed."""
        return f"{self.name}-{self.method}-{self.seed}"

    def to_record(self) -> dict[str, Any]:
        """The curriculum as JSON values, every default written out."""
        return self.model_dump(mode="json")
