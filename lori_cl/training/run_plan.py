"""What a run would train and evaluate, how much memory and how long it would take; nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lori_cl.evaluation.loaded_run import LoadedModel
from lori_cl.methods import StageSize
from lori_cl.registry import Registry, Run, Task, Workspace
from lori_cl.runtime.environment import check_same_environment
from lori_cl.runtime.memory import free_bytes
from lori_cl.spec import CurriculumSpec, View
from lori_cl.task_data.eval_tasks import check_permissions, max_length_of, on_samples
from lori_cl.tasks import kind_of
from lori_cl.training.gate import check_gate
from lori_cl.training.loop import RunOptions, is_complete, sampling
from lori_cl.training.packing import packing_of
from lori_cl.training.resume_checks import settle
from lori_cl.training.run_setup import PreparedRun, describe_base, prepare_run, set_up_process
from lori_cl.training.time_estimate import TimeEstimate
from lori_cl.training.trainer import optimizer_steps

VALUE_BYTES = 16
"""Bytes of one trained value: float32 value, gradient, and the two moments of Adam."""

SCORED_BYTES = 8
"""Bytes of one value whose gradient is computed without training."""


@dataclass(frozen=True)
class StagePlan:
    """A stage that a run would train."""

    position: int
    """Starts at 1."""
    task: str
    """The task's label."""
    examples: int
    """Training examples, without those that the method adds."""
    steps: int
    """Optimizer steps."""
    calibration_steps: int
    """Optimizer steps that select the cells, before."""
    adapter_values: int | None
    """Values of the adapter that it trains; None if the method does not say."""
    head_values: int
    """Values of the head that it trains."""
    scores: int
    """Scores after the stage: one for each view and task."""
    measured_scores: int
    """Those that must be measured, unless another run has measured them; the others are cached."""
    measured_examples: int
    """Eval examples of these."""
    memory_bytes: int | None
    """See `RunPlan.memory_bytes`."""
    time_s: float | None
    """Estimated time of training and evaluation."""


@dataclass(frozen=True)
class RunPlan:
    """What a run would do."""

    run: str
    sites: Sequence[str]
    """Lines that say which modules of the base model are adapted."""
    stages_done: int
    base_scores: int
    """Scores of the base model to measure, unless another run has measured them."""
    base_time_s: float | None
    """Estimated time of these scores."""
    stages: Sequence[StagePlan]
    """The stages that are not committed yet."""
    held_back: str | None
    """The task of a held-back stage, which needs a decision before the run continues."""
    base_bytes: int
    """Memory of the base model's weights."""
    available_bytes: int
    """Memory of this process's device that is free, or that the base model occupies."""
    timed_by: Sequence[str]
    """Runs whose recorded times the estimates use; empty if there is none."""

    @property
    def memory_bytes(self) -> int | None:
        """Estimated peak: the base model, the adapter, and for each trained value its gradient and Adam's
        state. Activations, batches and the memory that libraries reserve are not counted."""
        known = [stage.memory_bytes for stage in self.stages if stage.memory_bytes is not None]
        return max(known, default=None)

    @property
    def time_s(self) -> float | None:
        """Estimated time of all stages, without loading the model; None if a stage has no estimate."""
        times = [self.base_time_s, *(stage.time_s for stage in self.stages)]
        return None if None in times else sum(time for time in times if time is not None)


def plan_curriculum(
    workspace: Workspace, curriculum: CurriculumSpec, name: str, options: RunOptions
) -> RunPlan:
    """Check a curriculum as `run_curriculum` does, and return what it would train and evaluate.

    Raises: InputError; RunConflict; see `run_curriculum`.
    """
    check_gate(options.gate, curriculum)
    curriculum, here = set_up_process(curriculum, options.declared_in or workspace.root)
    with workspace.read() as registry:
        run = registry.find_run(name)
        curriculum, tasks, also = settle(registry, curriculum, run)
        if run is None or not is_complete(run, tasks, options):
            if run is not None:
                check_same_environment(run, here, change_allowed=options.allow_environment_change)
            check_permissions([*tasks, *also], options)
        prepared = prepare_run(workspace, registry, curriculum, tasks, also, name, run)
        times = TimeEstimate.of(registry, prepared.loaded.base.digest, curriculum, here)
        planner = _Planner(prepared, curriculum, tasks, options, times)
        held_back = None if run is None else workspace.held_back_stage(run)
        unscored = _without_base_score(registry, run, [*tasks, *also])
        return RunPlan(
            run=name,
            sites=describe_base(prepared.loaded),
            stages_done=len(prepared.loaded.history),
            base_scores=len(unscored),
            base_time_s=times.evaluation_s(planner.sizes_of(unscored)),
            stages=planner.stages(),
            held_back=None if held_back is None else held_back.stage.task,
            base_bytes=base_bytes(prepared.loaded),
            available_bytes=free_bytes() + base_bytes(prepared.loaded),
            timed_by=times.runs,
        )


def _without_base_score(registry: Registry, run: Run | None, tasks: Sequence[Task]) -> list[str]:
    """Return the labels of the tasks that have no score of the base model yet."""
    scored = set() if run is None else {e.task for e in registry.score_log(run.name) if e.stage == 0}
    return [task.label for task in tasks if task.label not in scored]


def base_bytes(loaded: LoadedModel) -> int:
    """Return the bytes of the base model's parameters and buffers, without the adapter's."""
    tensors = (*loaded.model.named_parameters(), *loaded.model.named_buffers())
    own = (t for name, t in tensors if ".lora_A." not in name and ".lora_B." not in name)
    return sum(tensor.numel() * tensor.element_size() for tensor in own)


@dataclass(frozen=True)
class _Planner:
    prepared: PreparedRun
    curriculum: CurriculumSpec
    tasks: Sequence[Task]
    options: RunOptions
    times: TimeEstimate

    def stages(self) -> list[StagePlan]:
        """Return the plan of every stage that is not committed."""
        loaded = self.prepared.loaded
        done = len(loaded.history)
        sizes = loaded.method.stage_sizes(loaded.history, [task.label for task in self.tasks[done:]])
        return [
            self._stage(position, task, None if sizes is None else sizes[position - done - 1])
            for position, task in enumerate(self.tasks[done:], start=done + 1)
        ]

    def sizes_of(self, labels: Sequence[str]) -> list[tuple[str, int]]:
        """Return (task, number of scored examples) of these tasks."""
        loaded = self.prepared.loaded
        scored = {each.label: len(each.examples) for each in (*loaded.eval_tasks, *loaded.also)}
        return [(label, scored[label]) for label in labels]

    def _stage(self, position: int, task: Task, size: StageSize | None) -> StagePlan:
        train, head = self.curriculum.train, self._head_values(position)
        fields, epochs = self.prepared.training_sets[task.label].fields, train.epochs_for(task.name)
        rows = self._rows([len(each["input_ids"]) for each in fields])
        steps, calibration = optimizer_steps(rows, epochs, train), 0
        if size is not None and size.calibrated:
            calibrated_epochs = size.calibration_epochs or size.calibration_fraction * epochs
            calibration = optimizer_steps(rows, calibrated_epochs, train)
        scored, measured = self._scored(position)
        return StagePlan(
            position=position,
            task=task.label,
            examples=len(fields),
            steps=steps,
            calibration_steps=calibration,
            adapter_values=None if size is None else size.trained,
            head_values=head,
            scores=len(scored),
            measured_scores=len(measured),
            measured_examples=sum(n for _, n in measured),
            memory_bytes=None if size is None else base_bytes(self.prepared.loaded) + _bytes(size, head),
            time_s=self.times.stage_s(task.label, steps, measured),
        )

    def _sizes(self, view: View, stage: int) -> list[tuple[str, int]]:
        """Return (task, number of scored examples) of every task after a stage."""
        is_sampled = sampling(self.curriculum, self.options, len(self.tasks))
        scored = on_samples(self.prepared.loaded.eval_tasks, view, stage, is_sampled)
        return [(each.label, len(each.examples)) for each in scored]

    def _rows(self, lengths: Sequence[int]) -> int:
        """Return the number of rows that a pass over examples of these lengths trains on."""
        base = self.prepared.loaded.base
        if not self.curriculum.train.packing:
            return len(lengths)
        return len(packing_of(base, max_length_of(self.curriculum, base.context)).groups(lengths))

    def _head_values(self, position: int) -> int:
        loaded = self.prepared.loaded
        spec: Any = loaded.eval_tasks[position - 1].spec
        head = kind_of(spec).head(spec, loaded.base.width, seed=0)
        return 0 if head is None else sum(parameter.numel() for parameter in head.parameters())

    def _scored(self, position: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """Return every score after a stage, and those that no earlier score of the run equals, as (task, n).

        An earlier task's as_trained score equals that of its own stage. The stage's own scores are equal in
        both views if its adapter is all that acts.
        """
        views = self.curriculum.eval.views
        all_act = self.curriculum.adapter.composition == "stacked" or position == 1
        also = [(each.label, len(each.examples)) for each in self.prepared.loaded.also]
        scored, measured = [*also], [*also]
        for view in views:
            sizes = self._sizes(view, position)
            own, trained, untrained = sizes[position - 1], sizes[:position], sizes[position:]
            if view is View.ROUTED or not self.options.upper_triangle:
                untrained = []
            scored += [*trained, *untrained]
            if view is View.AS_TRAINED:
                measured += [own, *untrained]
            elif view is View.CURRENT and View.AS_TRAINED in views:
                measured += trained[:-1] if all_act else trained
            else:
                measured += [*trained, *untrained]
        return scored, scored if self.options.measure_all else measured


def _bytes(size: StageSize, head: int) -> int:
    """Return the bytes of the adapter, the head, and the state of the optimizer."""
    trained = VALUE_BYTES * (max(size.trained, size.calibrated) + head)
    return size.fixed_bytes + max(trained, SCORED_BYTES * (size.scored + head))
