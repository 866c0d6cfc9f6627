"""Load a run's model and its finished stages; nothing is trained or stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from lori_cl.adapters import LoRAWeights, SiteSelection, read_weights, select_sites
from lori_cl.digest import derive_seed
from lori_cl.errors import ArtifactDamaged, InputError, RunConflict
from lori_cl.evaluation.stage_file import head_mismatch, read_stage
from lori_cl.methods import METHODS, MaskedMethod, Method, StageState
from lori_cl.methods.stages import active_stages
from lori_cl.model_traits import input_device
from lori_cl.models.base_model import BaseModel, load_base
from lori_cl.registry import Registry, Run, Task, Workspace
from lori_cl.runtime.environment import make_deterministic
from lori_cl.runtime.memory import memory_errors
from lori_cl.spec import CurriculumSpec
from lori_cl.task_data.eval_tasks import EvalTask, architecture_of, prepare_eval_task
from lori_cl.tasks import kind_of


@dataclass(frozen=True)
class LoadedModel:
    """A base model with a method's adapter, the tasks' eval tasks, and the finished stages."""

    base: BaseModel
    model: Any
    """The base model with the method's adapter attached."""
    method: Method
    eval_tasks: Sequence[EvalTask]
    """One for each task, in the run's order."""
    also: Sequence[EvalTask]
    """One for each task of `eval.also`."""
    selection: SiteSelection
    """The sites of the base model that are adapted, and those that are not."""
    history: Sequence[StageState]
    """Every finished stage, in order."""


@dataclass(frozen=True)
class LoadedRun(LoadedModel):
    """A run with its stages loaded, so that they can be activated."""

    workspace: Workspace
    run: Run
    curriculum: CurriculumSpec

    def position(self, task: str) -> int:
        """Return the position of a trained task, from 0; see `Run.position`."""
        return self.run.position(task)

    def acting(self, task: str | None) -> Sequence[StageState]:
        """Return the active stages of a task's view `as_trained`; None: those of the view `current`."""
        if task is None:
            return active_stages(self.history)
        return self.method.acting_as_trained(self.history, self.position(task) + 1)

    def update(self, position: int) -> LoRAWeights:
        """Return the update that the task at this position, from 0, added to the model before it."""
        acting = self.acting(self.history[position].task)
        if not self.method.is_cumulative or len(acting) == 1:
            return self.weights(acting[-1:])
        return self.weights(acting).minus(self.weights(acting[:-1]))

    def weights(self, acting: Sequence[StageState]) -> LoRAWeights:
        """Return what these stages add to the base model, as an ordinary LoRA; they stay active."""
        self.method.activate(acting)
        return read_weights(self.model)


def load_run(workspace: Workspace, registry: Registry, name: str) -> LoadedRun:
    """Load the base model and every finished stage of a run.

    Raises: UnknownRun; InputError, if no stage is finished; ModelError; RunConflict, if the base model or a
    projection A changed; ArtifactMissing; ArtifactDamaged.
    """
    make_deterministic()
    run = registry.run(name)
    if not run.stages:
        raise InputError(f"run '{name}' has no finished stage; use lori-cl run to resume it")
    curriculum = CurriculumSpec.model_validate(dict(run.curriculum))
    loaded = load_model(workspace, curriculum, run.tasks[: len(run.stages)], run.also, run)
    return LoadedRun(**vars(loaded), workspace=workspace, run=run, curriculum=curriculum)


@memory_errors("loading the base model with its adapter")
def load_model(
    workspace: Workspace,
    curriculum: CurriculumSpec,
    tasks: Sequence[Task],
    also: Sequence[Task],
    run: Run | None,
) -> LoadedModel:
    """Load the base model, attach the adapter and read the finished stages of the run, if there is one.

    Raises: InputError, see `load_run` and `prepare_eval_task`.
    """
    base = load_base(curriculum.model, architecture_of([*tasks, *also]))
    if run is not None:
        check_same_base(run, base.digest)
    method = METHODS.find(curriculum.method)(curriculum)
    recorded = _recorded_sites(workspace, run, method)
    selection = select_sites(base.model, curriculum.adapter.targets, recorded)
    model = method.attach(base.model, derive_seed(curriculum.seed, "projection"), selection.sites)
    eval_tasks = [
        prepare_eval_task(
            workspace, task, curriculum, base.context, encoder_decoder=base.architecture == "seq2seq-lm"
        )
        for task in (*tasks, *also)
    ]
    if not base.ignores_padding:
        eval_tasks = [replace(eval_task, batch_size=1) for eval_task in eval_tasks]
    eval_tasks, also_tasks = eval_tasks[: len(tasks)], eval_tasks[len(tasks) :]
    history = _read_history(workspace, run, eval_tasks, base) if run is not None else []
    if run is not None:
        check_same_projections(run, method, history)
    return LoadedModel(base, model, method, eval_tasks, also_tasks, selection, history)


def check_same_base(run: Run, base_digest: str) -> None:
    """Check that the run is resumed with the base model that it was started with.

    Raises: RunConflict, with both digests.
    """
    if run.base_digest != base_digest:
        raise RunConflict(
            f"run '{run.name}' was started with a base model of digest {run.base_digest[:16]}…, but "
            f"{run.base_path} now has {base_digest[:16]}…: its weights, configuration or tokenizer changed; "
            "restore them, or choose another --name"
        )


def check_same_projections(run: Run, method: Method, history: Sequence[StageState]) -> None:
    """Check that every finished stage is loaded with the projections A that it was trained with.

    Raises: RunConflict, naming the first stage that differs, with both digests.
    """
    if not isinstance(method, MaskedMethod):
        return
    for stage, current in zip(run.stages, method.projections_of(history), strict=True):
        recorded = stage.mask.projection if stage.mask else None
        if recorded not in (None, current):
            raise RunConflict(
                f"run '{run.name}': the projections of '{stage.task}' now have digest {str(current)[:16]}…, "
                f"but it was trained with {str(recorded)[:16]}…; its cells are invalid under others. "
                f"Use {projection_packages(run)}, as when the run was started"
            )


def projection_packages(run: Run) -> str:
    """Return the packages that drew the run's projections A: 'numpy 2.3.5 and scipy 1.17.0'."""
    packages = ("numpy", "scipy")
    return " and ".join(f"{name} {run.environment[name]}" for name in packages if name in run.environment)


def _recorded_sites(workspace: Workspace, run: Run | None, method: Method) -> Sequence[str] | None:
    """Return the sites that a run adapts, as recorded; None if they are not recorded.

    Raises: ArtifactMissing; ArtifactDamaged.
    """
    if run is None:
        return None
    if run.projection is not None:
        return tuple(run.projection.sites)
    if not run.stages:
        return None
    tensors, _ = read_stage(workspace.artifacts.get(run.stages[0].artifact, "safetensors"))
    return method.sites_of(tensors)


def _read_history(
    workspace: Workspace, run: Run, eval_tasks: Sequence[EvalTask], base: BaseModel
) -> list[StageState]:
    """Read the committed stages from their files.

    Raises: ArtifactMissing; ArtifactDamaged.
    """
    history = []
    for stage, eval_task in zip(run.stages, eval_tasks, strict=False):
        tensors, state = read_stage(workspace.artifacts.get(stage.artifact, "safetensors"))
        head = kind_of(eval_task.spec).head(eval_task.spec, base.width, seed=0)
        if (mismatch := head_mismatch(head or nn.Module(), state)) is not None:
            raise ArtifactDamaged(f"the file of stage '{stage.task}' is damaged: {mismatch}")
        if head is not None:
            head.load_state_dict(state)
            head.to(input_device(base.model))
        history.append(
            StageState(stage.task, tensors, stage.seeds, stage.retired_after, head, stage.artifact)
        )
    return history
