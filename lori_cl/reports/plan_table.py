"""The table of a planned run: what it would train and evaluate, its memory and its time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console

from lori_cl.reports.phrases import listed, megabytes, seconds
from lori_cl.reports.plain_tables import add_row, plain_table, print_line

if TYPE_CHECKING:  # imports torch
    from lori_cl.training.run_plan import RunPlan, StagePlan

NOT_COUNTED = "activations, batches and memory that libraries reserve"


def print_plan(plan: RunPlan, console: Console) -> None:
    """Print a planned run."""
    for line in plan.sites:
        print_line(console, line)
    titles = ["stage", "examples", "steps", "trained", "scores", "to measure", "time"]
    table = plain_table(titles, numbers=len(titles) - 1)
    if plan.base_scores:
        scores = f"{plan.base_scores:,}"
        add_row(table, "0 base model", "", "", "", scores, scores, _time(plan.base_time_s))
    for stage in plan.stages:
        add_row(table, *_cells(stage))
    if plan.base_scores or plan.stages:
        console.print(table)
    for line in _notes(plan):
        print_line(console, line)


def plan_record(plan: RunPlan) -> dict[str, Any]:
    """Return a planned run as JSON values."""
    return {
        "run": plan.run,
        "sites": list(plan.sites),
        "stages_done": plan.stages_done,
        "base_scores": plan.base_scores,
        "stages": [dict(vars(stage)) for stage in plan.stages],
        "held_back": plan.held_back,
        "base_bytes": plan.base_bytes,
        "memory_bytes": plan.memory_bytes,
        "available_bytes": plan.available_bytes,
        "time_s": plan.time_s,
        "timed_by": list(plan.timed_by),
    }


def _cells(stage: StagePlan) -> list[str]:
    steps = f"{stage.steps:,}"
    if stage.calibration_steps:
        steps = f"{stage.calibration_steps:,} + {steps}"
    trained = "–" if stage.adapter_values is None else f"{stage.adapter_values:,}"
    if stage.head_values:
        trained += f" + {stage.head_values:,}"
    return [
        f"{stage.position} {stage.task}",
        f"{stage.examples:,}",
        steps,
        trained,
        f"{stage.scores:,}",
        f"{stage.measured_scores:,}",
        _time(stage.time_s),
    ]


def _notes(plan: RunPlan) -> list[str]:
    lines = []
    if any(stage.calibration_steps for stage in plan.stages):
        lines.append("steps: calibration, which selects the cells, + training")
    if any(stage.head_values for stage in plan.stages):
        lines.append("trained: values of the adapter + of the head")
    if plan.base_scores or plan.stages:
        lines.append("to measure: scores that equal no earlier score of the run; another run may have them")
    if plan.memory_bytes is not None:
        base = f"the base model has {megabytes(plan.base_bytes)}"
        lines.append(
            f"memory: at least {megabytes(plan.memory_bytes)} with gradients and Adam's state ({base}); "
            f"not counted: {NOT_COUNTED}"
        )
        if plan.memory_bytes > plan.available_bytes:
            lines.append(
                f"the run does not fit: {megabytes(plan.available_bytes)} are available; set model.dtype: "
                "bfloat16, model.quantization, model.device_map or lower masks.density"
            )
    if plan.held_back is not None:
        lines.append(f"held back: {plan.held_back}; see lori-cl runs {plan.run}")
    if not plan.stages:
        lines.append(f"all {plan.stages_done:,} stages of run {plan.run} are committed: nothing to train")
    else:
        lines.append(_time_note(plan))
    return [*lines, "nothing was trained or stored"]


def _time_note(plan: RunPlan) -> str:
    if plan.time_s is None:
        alike = "this base model, device and training settings"
        return f"time: no estimate, because no run with {alike} was recorded"
    return f"time: about {seconds(plan.time_s)}, as recorded in {listed(list(plan.timed_by)[-3:])}"


def _time(value: float | None) -> str:
    return "–" if value is None else seconds(value)
