"""Load a run's model and its finished stages; nothing is trained or stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from lori_cl.adapters import LoRAWeights, SiteSelection, read_weights, select_sites
from lori_cl.errors import ArtifactDamaged, InputError
from lori_cl.methods import METHODS, Method, StageState
from lori_cl.registry import Registry, Run, Task, Workspace
from lori_cl.spec import CurriculumSpec
from lori_cl.tasks import kind_of
from lori_cl.training.base_model import BaseModel, load_base
from lori_cl.training.determinism import derive_seed, make_deterministic
from lori_cl.training.eval_task import EvalTask
from lori_cl.training.resume_checks import check_same_base, check_same_projections
from lori_cl.training.stage_file import FinishedStage, head_mismatch, read_stage
from lori_cl.training.task_data import architecture_of, prepare_eval_task


@dataclass(frozen=True)
class LoadedModel:
    """A base model with a method's adapter, the tasks' eval tasks, and the finished stages."""

    base: BaseModel
    model: Any
    """The base model with the method's adapter attached."""
    method: Method
    eval_tasks: Sequence[EvalTask]
    """One for each task, in the run's order."""
    selection: SiteSelection
    """The sites of the base model that are adapted, and those that are not."""
    history: Sequence[FinishedStage]
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
        stages = [finished.state for finished in self.history]
        if task is None:
            return [each for each in stages if each.retired_after is None]
        return acting_as_trained(self.method, stages, self.position(task) + 1)

    def update(self, position: int) -> LoRAWeights:
        """Return the update that the task at this position, from 0, added to the model before it."""
        acting = self.acting(self.history[position].state.task)
        if not self.method.is_cumulative or len(acting) == 1:
            return self.weights(acting[-1:])
        return self.weights(acting).minus(self.weights(acting[:-1]))

    def weights(self, acting: Sequence[StageState]) -> LoRAWeights:
        """Return what these stages add to the base model, as an ordinary LoRA; they stay active."""
        self.method.activate(acting)
        return read_weights(self.model)


def acting_as_trained(method: Method, history: Sequence[StageState], position: int) -> Sequence[StageState]:
    """Return the stages active when the task at this position, from 1, was trained, including its own."""
    return method.as_trained([each for each in history[:position] if each.is_active_after(position)])


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
    loaded = load_model(workspace, curriculum, run.tasks[: len(run.stages)], run)
    return LoadedRun(**vars(loaded), workspace=workspace, run=run, curriculum=curriculum)


def load_model(
    workspace: Workspace, curriculum: CurriculumSpec, tasks: Sequence[Task], run: Run | None
) -> LoadedModel:
    """Load the base model, attach the adapter and read the finished stages of the run, if there is one.

    Raises: InputError, see `load_run` and `prepare_eval_task`.
    """
    base = load_base(curriculum.model, architecture_of(tasks))
    if run is not None:
        check_same_base(run, base.digest)
    method = METHODS.find(curriculum.method)(curriculum)
    recorded = _recorded_sites(workspace, run, method)
    selection = select_sites(base.model, curriculum.adapter.targets, recorded)
    model = method.attach(base.model, derive_seed(curriculum.seed, "projection"), selection.sites)
    eval_tasks = [prepare_eval_task(workspace, task, curriculum, base.context) for task in tasks]
    if not base.ignores_padding:
        eval_tasks = [replace(eval_task, batch_size=1) for eval_task in eval_tasks]
    history = _read_history(workspace, run, eval_tasks, base) if run is not None else []
    if run is not None:
        check_same_projections(run, method, [finished.state for finished in history])
    return LoadedModel(base, model, method, eval_tasks, selection, history)


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
) -> list[FinishedStage]:
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
            head.to(base.model.device)
        stage_state = StageState(stage.task, tensors, stage.seeds, stage.retired_after)
        history.append(FinishedStage(stage_state, head, stage.artifact))
    return history
