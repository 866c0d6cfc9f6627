"""A run as it stands, its model loaded and every finished stage read back: nothing is trained or stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from lori_cl.adapters import LoRAWeights, SiteSelection, read_weights, select_sites
from lori_cl.errors import ArtifactDamaged, InputError
from lori_cl.methods import METHODS, Learned, Method
from lori_cl.registry import Registry, Run, Task, Workspace
from lori_cl.spec import CurriculumSpec
from lori_cl.tasks import kind_of
from lori_cl.training.base_model import BaseModel, load_base
from lori_cl.training.continuing import check_same_base, check_same_projections
from lori_cl.training.determinism import derive_seed, make_deterministic
from lori_cl.training.evaluate import Question
from lori_cl.training.preparation import architecture_of, prepare_question
from lori_cl.training.stage_file import StageMemory, misfit, read_stage


@dataclass(frozen=True)
class Stood:
    """A model with a method's adapter in it, the questions of its tasks, and what it has learned."""

    base: BaseModel
    model: Any
    """The base model with the method's adapter in it."""
    method: Method
    questions: Sequence[Question]
    """One a task, in the run's order."""
    selection: SiteSelection
    """What of the base model is adapted, and what is not."""
    history: Sequence[StageMemory]
    """Every finished stage, in order."""


@dataclass(frozen=True)
class LoadedRun(Stood):
    """A run whose stages can be made to act."""

    workspace: Workspace
    run: Run
    curriculum: CurriculumSpec

    def position(self, task: str) -> int:
        """Where a learned task stands, from 0; see `Run.position`."""
        return self.run.position(task)

    def acting(self, task: str | None) -> Sequence[Learned]:
        """The stages that act for one task as it was trained; None means the current view: all."""
        learned = [memory.learned for memory in self.history]
        if task is None:
            return [each for each in learned if each.retired_after is None]
        return acting_as_trained(self.method, learned, self.position(task) + 1)

    def update(self, position: int) -> LoRAWeights:
        """What the task at this position, from 0, added to the base model beside what was there."""
        acting = self.acting(self.history[position].learned.task)
        if not self.method.carries_on or len(acting) == 1:
            return self.weights(acting[-1:])
        return self.weights(acting).minus(self.weights(acting[:-1]))

    def weights(self, acting: Sequence[Learned]) -> LoRAWeights:
        """What these stages add to the base model, as an ordinary LoRA; they stay switched on."""
        self.method.activate(acting)
        return read_weights(self.model)


def acting_as_trained(method: Method, history: Sequence[Learned], position: int) -> Sequence[Learned]:
    """The stages that acted when the task at this position, counted from 1, was trained, and its own."""
    return method.as_trained([each for each in history[:position] if each.acts_after(position)])


def load_run(workspace: Workspace, registry: Registry, name: str) -> LoadedRun:
    """Load the base model and every finished stage of a run.

    Raises: UnknownRun; InputError, if nothing is learned yet; ModelError; RunConflict, if the base model or
    an A is another one now; ArtifactMissing; ArtifactDamaged.
    """
    make_deterministic()
    run = registry.run(name)
    if not run.stages:
        raise InputError(f"run '{name}' has learned nothing yet; lori-cl run goes on with it")
    curriculum = CurriculumSpec.model_validate(dict(run.curriculum))
    stood = stand(workspace, curriculum, run.tasks[: len(run.stages)], run)
    return LoadedRun(**vars(stood), workspace=workspace, run=run, curriculum=curriculum)


def stand(workspace: Workspace, curriculum: CurriculumSpec, tasks: Sequence[Task], run: Run | None) -> Stood:
    """Load the base model and attach the adapter; read back what the run has learned, where there is one.

    Raises: InputError, as `load_run` and `prepare_question` say.
    """
    base = load_base(curriculum.model, architecture_of(tasks))
    if run is not None:
        check_same_base(run, base.digest)
    method = METHODS[curriculum.method](curriculum)
    recorded = _recorded_sites(workspace, run, method)
    selection = select_sites(base.model, curriculum.adapter.targets, recorded)
    model = method.attach(base.model, derive_seed(curriculum.seed, "projection"), selection.sites)
    questions = [prepare_question(workspace, task, curriculum, base.context) for task in tasks]
    if not base.ignores_padding:
        questions = [replace(question, batch_size=1) for question in questions]
    history = _read_history(workspace, run, questions, base) if run is not None else []
    if run is not None:
        check_same_projections(run, method, [memory.learned for memory in history])
    return Stood(base, model, method, questions, selection, history)


def _recorded_sites(workspace: Workspace, run: Run | None, method: Method) -> Sequence[str] | None:
    """The sites that a run has adapted from its first stage on; None where nothing says it.

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
    workspace: Workspace, run: Run, questions: Sequence[Question], base: BaseModel
) -> list[StageMemory]:
    """The committed stages, read back from their files.

    Raises: ArtifactMissing; ArtifactDamaged.
    """
    history = []
    for stage, question in zip(run.stages, questions, strict=False):
        tensors, state = read_stage(workspace.artifacts.get(stage.artifact, "safetensors"))
        head = kind_of(question.spec).head(question.spec, base.width, seed=0)
        if (wrong := misfit(head or nn.Module(), state)) is not None:
            raise ArtifactDamaged(f"the file of stage '{stage.task}' is damaged: {wrong}")
        if head is not None:
            head.load_state_dict(state)
            head.to(base.model.device)
        learned = Learned(stage.task, tensors, stage.seeds, stage.retired_after)
        history.append(StageMemory(learned, head, stage.artifact))
    return history
