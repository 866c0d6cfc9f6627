"""A curriculum: base model, method, adapter and training settings, and an ordered list of tasks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from lori_cl.errors import SpecError
from lori_cl.spec.base import RUN_NAME, Count, Name, Number, Spec, first_duplicate
from lori_cl.spec.error_messages import shown

Device = Annotated[int, Field(strict=True, ge=0)] | Literal["cpu", "disk"]
"""A GPU's number, or where weights are kept that are loaded only for their computations."""

MemorySize = (
    Annotated[int, Field(strict=True, gt=0)]
    | Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?([KMG]i?B)$")]
)
"""A number of bytes, or a text such as 20GiB."""


class View(StrEnum):
    """Which cells are active when a task is scored."""

    AS_TRAINED = "as_trained"
    """The adapter as it was at the end of that task's stage."""
    CURRENT = "current"
    """All cells trained so far: the task-agnostic model, which gets no task id."""
    ROUTED = "routed"
    """The task is predicted from each text; the predicted task's `as_trained` cells and head are used."""


class QuantizationSpec(Spec):
    """Quantise the base model's Linear layers when it is loaded, with bitsandbytes.

    Example:
        >>> import lori_cl as cl
        >>> plan = cl.Curriculum(model={"path": "org/model", "quantization": {"bits": 4}}, tasks=["sst2"])
        >>> plan.model.quantization.kind
        'nf4'
    """

    bits: Literal[4, 8] = 4
    """8 is LLM.int8()."""
    kind: Literal["nf4", "fp4"] = "nf4"
    """Data type of 4-bit weights."""
    double: bool = True
    """Whether the scales of 4-bit weights are quantised too."""

    @model_validator(mode="after")
    def _require_four_bits(self) -> Self:
        if self.bits == 8 and (self.kind, self.double) != ("nf4", True):
            raise ValueError(
                "'model.quantization.kind' and 'double' are only used with bits: 4; "
                "remove them, or set bits: 4"
            )
        return self


class ModelSpec(Spec):
    """The frozen base model."""

    omitted_if_none: ClassVar[frozenset[str]] = frozenset(
        {"quantization", "attention", "device_map", "max_memory"}
    )

    path: str = Field(min_length=1)
    """A hub id, a local folder, or `package:NAME/FOLDER` for weights in an installed package. A GGUF file is
    named as `OWNER/NAME/FILE.gguf` (on the hub), `./FILE.gguf` or `package:NAME/FILE.gguf`."""
    revision: str | None = None
    """Commit of a hub model."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Data type of the frozen weights. The adapter's values are always float32."""
    quantization: QuantizationSpec | None = None
    """Quantise the base model; None loads it as it is. `dtype` is then the type of its computations."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    """Implementation of attention: `attn_implementation` of transformers; None is the default of
    transformers. `flash_attention_2` needs CUDA and the package flash-attn."""
    device_map: Literal["auto", "balanced", "sequential"] | dict[str, Device] | None = None
    """Spread the base model over several devices, by a strategy of accelerate, or by module name: a GPU's
    number, `cpu` or `disk`. None loads it to one device."""
    max_memory: dict[str, MemorySize] | None = None
    """Maximum memory that a strategy of `device_map` uses of each device, by its number, or `cpu`."""

    @field_validator("max_memory", mode="before")
    @classmethod
    def _name_devices(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        named = {str(key): size for key, size in value.items()}
        unknown = next((key for key in named if key != "cpu" and not key.isdecimal()), None)
        if unknown is not None:
            raise ValueError(
                f"'model.max_memory' has the device {shown(unknown)}; use the number of a GPU, or cpu"
            )
        return named

    @field_validator("device_map")
    @classmethod
    def _forbid_overlapping_parts(cls, value: Any) -> Any:
        parts = value if isinstance(value, dict) else {}
        for part in parts:  # accelerate does not load such maps
            outer = next((other for other in parts if other != part and _contains(other, part)), None)
            if outer is not None:
                raise ValueError(
                    f"'model.device_map' names '{part}' and '{outer}', which contains it; name each part of "
                    "the model once"
                )
        return value

    @model_validator(mode="after")
    def _require_strategy_for_max_memory(self) -> Self:
        if self.max_memory is not None and not isinstance(self.device_map, str):
            raise ValueError(
                "'model.max_memory' is only used with a strategy of model.device_map; set "
                "model.device_map: auto, or remove model.max_memory"
            )
        return self

    @model_validator(mode="after")
    def _require_16_bits_for_flash_attention(self) -> Self:
        if self.attention == "flash_attention_2" and self.dtype == "float32":
            raise ValueError(
                "'model.attention: flash_attention_2' computes in 16 bits, and model.dtype is float32; "
                "set model.dtype: bfloat16 or float16, or model.attention: sdpa"
            )
        return self

    @model_validator(mode="after")
    def _forbid_quantized_gguf(self) -> Self:
        if self.quantization is not None and self.path.endswith(".gguf"):
            raise ValueError(
                "a GGUF file is dequantised when it is loaded, so 'model.quantization' cannot apply; "
                "remove it, or name a folder of safetensors files"
            )
        return self


def _contains(outer: str, module: str) -> bool:
    return outer == "" or module.startswith(f"{outer}.")


class NullSpaceSpec(Spec):
    """How much of each site's input space `projection: null-space` protects from later tasks.

    Example:
        >>> import lori_cl as cl
        >>> cl.LoRI(projection="null-space", null_space=cl.NullSpace(energy=0.9)).null_space.energy
        0.9
    """

    omitted_if_none: ClassVar[frozenset[str]] = frozenset({"protect", "protect_sha256"})

    energy: Number = Field(default=0.95, gt=0, le=1)
    """Fraction of a task's input energy (the trace of the inputs' second moment) to protect."""
    max_directions: Count | None = None
    """Maximum number of input directions that one task may protect at a site; None sets no limit."""
    examples: Count = 256
    """Training examples used to estimate the second moment."""
    min_free: Count | None = None
    """Free input directions that a site needs before a task starts; None means the adapter's rank."""
    protect: str | None = None
    """A .txt file with one text per line, or a data file with a column `text`: the directions that the base
    model's inputs use on these texts are protected, too, from the first task on."""
    protect_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of that file. A run records it; if it is set, another file is refused."""

    @model_validator(mode="after")
    def _require_protected_file(self) -> Self:
        if self.protect_sha256 is not None and self.protect is None:
            raise ValueError(
                "'adapter.null_space.protect_sha256' is only used with adapter.null_space.protect; set that, "
                "or remove protect_sha256"
            )
        return self


class AdapterSpec(Spec):
    """The adapter: ΔW = alpha / rank · (B ⊙ M) A at every site."""

    rank: int = Field(default=32, strict=True, ge=1, le=16_384)
    alpha: Number = Field(default=64.0, gt=0)
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """`all-linear`, or suffixes of module names, such as [q_proj, v_proj]."""
    projection: Literal["shared", "per-task", "orthogonal", "null-space"] = "shared"
    """`shared`: one frozen A for the whole run. `per-task`: one for each task. `orthogonal`: one for each
    task, orthogonal to all earlier ones. `null-space`: one for each task, orthogonal to the protected input
    directions of earlier tasks."""
    distribution: Literal["uniform", "normal"] = "uniform"
    """Distribution of A: U(±1/√d_in), or a normal distribution with the same variance, 1/(3·d_in)."""
    kept_in: Literal["float32", "bfloat16"] = "float32"
    """Data type of a stage's stored values. Training uses float32. With bfloat16 the values are rounded once,
    before the stage is scored, so the scored values are the stored values."""
    composition: Literal["stacked", "isolated"] = "stacked"
    """`stacked`: a task trains on top of all earlier cells. `isolated`: on top of the base model only."""
    grow: Count | None = None
    """Ranks added to A and B when a task finds too few free cells; None never adds any."""
    null_space: NullSpaceSpec = NullSpaceSpec()

    @model_validator(mode="after")
    def _require_null_space_projection(self) -> Self:
        if self.projection != "null-space" and self.null_space != NullSpaceSpec():
            raise ValueError(
                f"'adapter.null_space' is only used with adapter.projection: null-space, and "
                f"adapter.projection is {self.projection}; set adapter.projection: null-space "
                "or remove adapter.null_space"
            )
        return self

    @field_validator("targets", mode="before")
    @classmethod
    def _check_targets(cls, value: Any) -> Any:
        listed = isinstance(value, list | tuple) and value and all(isinstance(v, str) and v for v in value)
        if value != "all-linear" and not listed:
            expected = "'all-linear' or a list such as [q_proj, v_proj]"
            raise ValueError(f"'adapter.targets' should be {expected}, not {shown(value)}")
        return value


class CalibrationSpec(Spec):
    """The calibration that `magnitude` masks (a short dense training, LoRI-D) and `gradient` masks use.

    Example:
        >>> import lori_cl as cl
        >>> cl.LoRI(calibration=cl.Calibration(fraction=0.25)).calibration.fraction
        0.25
    """

    omitted_if_none: ClassVar[frozenset[str]] = frozenset({"fraction"})

    epochs: Number | None = Field(default=None, gt=0)
    """Passes over the training examples. None means as `fraction` says for `magnitude`, and a twentieth of a
    pass for `gradient`."""
    fraction: Number | None = Field(default=None, gt=0)
    """Length of the calibration of `magnitude` as a fraction of the stage's epochs. None means a tenth in a
    new run, and as recorded in an existing one: runs of earlier versions calibrated as long as the stage."""
    lr: Number | None = Field(default=None, gt=0, le=1e30)
    """Learning rate; None means a tenth of `train.lr`, as in LoRI's published settings (5e-5 to 5e-4)."""

    @model_validator(mode="after")
    def _require_one_length(self) -> Self:
        if self.epochs is not None and self.fraction is not None:
            raise ValueError(
                "'masks.calibration' has both 'epochs' and 'fraction', which set the same length; remove one"
            )
        return self


class MasksSpec(Spec):
    """How each task's cells are selected from the free cells."""

    strategy: str = "magnitude"
    budget: Literal["density", "even"] = "density"
    """`density`: every task claims the fraction `density` of all cells. `even`: the free cells are divided
    evenly among the tasks that are not trained yet."""
    density: Number = Field(default=0.1, gt=0, le=1)
    """Fraction of all cells that one task claims; 1.0 is LoRI-D."""
    granularity: Literal["model", "module", "projection", "layer", "matrix"] = "model"
    """The group within which cells compete. `model`: the whole model. `module`: attention or MLP.
    `projection`: all sites of one name. `layer`: one layer. `matrix`: one site."""
    overlap: Literal["forbid", "allow"] = "forbid"
    """Whether a task may claim cells that another task owns, as in the paper."""
    freeze: bool = True
    """Whether the values of earlier cells stay fixed. False continues training B, as in the paper, and needs
    `overlap: allow`."""
    calibration: CalibrationSpec = CalibrationSpec()

    @model_validator(mode="after")
    def _forbid_fraction_without_training(self) -> Self:
        if self.calibration.fraction is not None and self.strategy in ("gradient", "random"):
            raise ValueError(
                "'masks.calibration.fraction' is only used with masks.strategy: magnitude, not with "
                f"{self.strategy}; remove it"
            )
        return self

    @model_validator(mode="after")
    def _require_one_cell_budget(self) -> Self:
        if self.budget == "even" and self.density != type(self).model_fields["density"].default:
            raise ValueError(
                f"'masks.budget: even' divides the free cells, so 'masks.density: {self.density:g}' would "
                "be unused; remove one of them"
            )
        return self

    @model_validator(mode="after")
    def _require_overlap_without_freeze(self) -> Self:
        if not self.freeze and self.overlap == "forbid":
            raise ValueError(
                "'masks.freeze: false' trains earlier cells again, which 'masks.overlap: forbid' forbids; "
                "set masks.overlap: allow"
            )
        return self

    @model_validator(mode="after")
    def _forbid_even_budget_with_overlap(self) -> Self:
        if self.budget == "even" and self.overlap == "allow":
            raise ValueError(
                "'masks.budget: even' divides the free cells, and with 'masks.overlap: allow' every cell is "
                "always free; set masks.budget: density"
            )
        return self


class TrainSpec(Spec):
    """How one stage trains; all fields are passed to transformers.Trainer.

    Example:
        >>> import lori_cl as cl
        >>> train = cl.Train(epochs=2, batch_size=16, epochs_of={"sst2": 4})
        >>> train.epochs_for("sst2"), train.epochs_for("agnews")
        (4.0, 2.0)
    """

    omitted_if_none: ClassVar[frozenset[str]] = frozenset({"group_by_length", "packing", "torch_compile"})

    epochs: Number = Field(default=1.0, gt=0, le=1e6)
    epochs_of: dict[Name, Annotated[Number, Field(gt=0, le=1e6)]] = Field(default={})
    """Task name → number of epochs, which overrides `epochs` for that task."""
    batch_size: Count = 32
    """Examples per step and device."""
    lr: Number | None = Field(default=None, gt=0, le=1e30)
    """Peak learning rate of the adapter; None means the default of the method."""
    head_lr: Number = Field(default=5e-3, gt=0, le=1e30)
    """Peak learning rate of a classification head."""
    max_length: Count = 128
    """Maximum number of tokens; longer texts are truncated and counted."""
    limit: Count | None = None
    """Number of training examples, drawn with the task's seed; None uses all."""
    optimizer: str = "adamw_torch"
    """A value of `optim` in transformers.TrainingArguments."""
    weight_decay: Number = Field(default=0.0, ge=0)
    """Weight decay of this stage's own cells and head; earlier cells never decay."""
    scheduler: str = "constant"
    """A value of `lr_scheduler_type` in transformers.TrainingArguments."""
    warmup_steps: int = Field(default=0, ge=0, strict=True)
    gradient_accumulation: Count = 1
    """Batches per optimizer step."""
    max_grad_norm: Number = Field(default=1.0, ge=0)
    """Maximum norm for gradient clipping; 0 turns clipping off."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Mixed precision of the forward and backward pass."""
    gradient_checkpointing: bool = False
    torch_compile: bool | None = None
    """Whether torch.compile compiles the model for training; scores are computed without it. False is the
    same as None."""
    group_by_length: bool | None = None
    """Whether the examples of a batch have similar lengths, which saves padding. None means yes for generated
    answers if random batches would contain more than 10 % padding."""
    packing: bool | None = None
    """Whether several short examples are packed into one row of at most `max_length` tokens. The model reads
    them as separate texts. `batch_size` then counts rows. False is the same as None."""
    save_steps: Count | None = 500
    """Optimizer steps between checkpoints, from which an interrupted stage resumes; None writes none."""
    loggers: tuple[str, ...] = ()
    """Values of `report_to` in transformers.TrainingArguments. lori-cl has extras for `tensorboard`, `wandb`
    and `mlflow`."""

    @field_validator("torch_compile", "packing")
    @classmethod
    def _none_for_false(cls, value: bool | None) -> bool | None:
        return value or None

    @model_validator(mode="after")
    def _forbid_groups_of_rows(self) -> Self:
        if self.packing and self.group_by_length is not None:
            raise ValueError(
                "'train.group_by_length' is not used with 'train.packing: true'; remove one of them"
            )
        return self

    def epochs_for(self, task: str) -> float:
        """Return the number of epochs for a task, by its name."""
        return self.epochs_of.get(task, self.epochs)


class EvalSpec(Spec):
    """How tasks are scored after every stage.

    Example:
        >>> import lori_cl as cl
        >>> scoring = cl.Eval(limit=200, views=["current"])
        >>> plan = cl.Curriculum(model="org/model", tasks=["sst2"], eval=scoring)
        >>> plan.eval.limit, [str(view) for view in plan.eval.views]
        (200, ['current'])
    """

    omitted_if_none: ClassVar[frozenset[str]] = frozenset({"sample", "also"})

    limit: Count | None = None
    """Number of examples of a task's eval set to score, drawn with the task's seed; None scores all."""
    sample: Count | None = None
    """Number of these examples to score after the stages between a task's own and the last, drawn with the
    task's seed, in the views `current` and `routed`; None scores all after every stage."""
    batch_size: Count = 64
    views: tuple[View, ...] = Field(default=(View.AS_TRAINED, View.CURRENT), min_length=1)
    also: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Registered tasks that are scored but not trained: with the base model, and after every stage with all
    cells trained so far. Reports show them as general abilities, outside of the matrix and its metrics."""

    @field_validator("also")
    @classmethod
    def _require_distinct_also(cls, also: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if (task := first_duplicate(also or ())) is not None:
            raise ValueError(f"'eval.also' lists '{task}' twice")
        return also

    @model_validator(mode="after")
    def _require_sampled_view(self) -> Self:
        if self.sample is not None and set(self.views) == {View.AS_TRAINED}:
            raise ValueError(
                "'eval.sample' is only used in the views current and routed, and eval.views lists neither; "
                "remove it, or add a view"
            )
        return self

    @field_validator("views")
    @classmethod
    def _require_distinct_views(cls, views: tuple[View, ...]) -> tuple[View, ...]:
        if (view := first_duplicate(views)) is not None:
            raise ValueError(f"'eval.views' lists '{view}' twice")
        return views


class CurriculumSpec(Spec):
    """The configuration of one `lori-cl run`."""

    name: Name
    model: ModelSpec
    method: str = "lori"
    tasks: tuple[str, ...] = Field(min_length=1)
    seed: int = Field(default=0, strict=True, ge=0, lt=2**31)
    adapter: AdapterSpec = AdapterSpec()
    masks: MasksSpec = MasksSpec()
    settings: dict[str, Any] = Field(default={})
    """Settings of the method's own, for a method that has some."""
    train: TrainSpec = TrainSpec()
    eval: EvalSpec = EvalSpec()

    @model_validator(mode="after")
    def _require_shared_stacked_without_freeze(self) -> Self:
        separate = (self.adapter.projection, self.adapter.composition) != ("shared", "stacked")
        if not self.masks.freeze and separate:
            raise ValueError(
                "'masks.freeze: false' trains one B for all tasks in turn, which needs "
                "adapter.projection: shared and adapter.composition: stacked"
            )
        return self

    @model_validator(mode="after")
    def _forbid_unused_growth(self) -> Self:
        if self.adapter.grow and (self.masks.budget, self.masks.overlap) != ("density", "forbid"):
            raise ValueError(
                "'adapter.grow' adds rank when a task finds too few free cells, which cannot happen with "
                "masks.budget: even or masks.overlap: allow; remove adapter.grow"
            )
        return self

    @field_validator("tasks")
    @classmethod
    def _require_distinct_tasks(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if (task := first_duplicate(tasks)) is not None:
            raise ValueError(
                f"'tasks' lists '{task}' twice; to train it again, change its file and add it "
                "as a new version"
            )
        return tasks

    def run_name(self, given: str | None) -> str:
        """Return the name that the user gave, or curriculum-method-seed.

        Raises: SpecError, if the name is not safe in a file name or on a command line.
        """
        if given is None:
            return self.default_run_name
        if not RUN_NAME.fullmatch(given):
            raise SpecError(
                f"invalid run name {shown(given)}: use at most 160 of a-z, 0-9, '_', '.' and '-', "
                "beginning with a letter or digit"
            )
        return given

    @property
    def default_run_name(self) -> str:
        """The run name if the user gives none: curriculum-method-seed."""
        return f"{self.name}-{self.method}-{self.seed}"

    def to_record(self) -> dict[str, Any]:
        """Return the curriculum as JSON values, including every default."""
        record = self.model_dump(mode="json")
        # Left out where empty, so that digests of stages stay what they were before the field existed.
        return {key: value for key, value in record.items() if key != "settings" or value}
