"""Print tasks and runs in the terminal, as lists or one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from lori_cl import digest
from lori_cl.registry import GarbageFile, Run, RunSummary, ScoredStage, Task, flatten
from lori_cl.reports.lineage import lineage_sections
from lori_cl.reports.phrases import describe_source, minute, run_title, seconds, short, stage_name
from lori_cl.reports.plain_tables import add_row, plain_table, print_line


def print_tasks(tasks: Sequence[Task], console: Console) -> None:
    """Print every version of every task, one per line."""
    if not tasks:
        return print_line(console, "no tasks yet; add one: lori-cl add-task FILE")
    table = plain_table(["task", "version", "kind", "metric", "eval examples", "eval set", "source"])
    for task in tasks:
        examples = f"{task.eval_set.n:,}"
        what = (task.kind, task.metric, examples, short(task.eval_set.digest), _source(task))
        add_row(table, task.name, str(task.version), *what)
    return console.print(table)


def print_task(task: Task, console: Console) -> None:
    """Print one version of a task with all fields of its declaration."""
    print_line(console, task.label, "bold")
    facts = {
        "version": task.version,
        "added": minute(task.created_at),
        "folder": task.declared_in or ".",
        "eval set": f"{task.eval_set.n:,} examples, digest {task.eval_set.digest}",
    }
    for key, value in {**facts, **_set_fields({k: v for k, v in task.spec.items() if k != "name"})}.items():
        print_line(console, f"  {key}: {_source_digest(value) if key == 'scorer_source' else value}")


def _source_digest(source: object) -> str:
    content = str(source).encode()
    return f"{len(content):,} bytes, digest {digest.of_bytes(content)}"


def print_runs(runs: Sequence[Run | RunSummary], console: Console) -> None:
    """Print every run, one per line."""
    if not runs:
        return print_line(console, "no runs yet; start one: lori-cl run CURRICULUM")
    table = plain_table(["run", "method", "seed", "stages", "model", "started (UTC)"])
    for run in runs:
        stages = f"{run.stages_done} of {len(run.task_labels)}"
        started = minute(run.created_at)
        add_row(table, run.name, run.method, str(run.seed), stages, run.base_path, started)
    return console.print(table)


def print_run(run: Run, console: Console, *, held_back: ScoredStage | None = None) -> None:
    """Print one run: its finished, held back and pending stages, and its settings."""
    print_line(console, f"{run.name}: {run_title(run)}", "bold")
    table = plain_table(["stage", "eval examples", "cells", "trained on", "duration", "artifact"])
    done = {stage.task: stage for stage in run.stages}
    for position, task in enumerate(run.tasks, start=1):
        stage = done.get(task.label)
        training = (
            (
                f"{stage.mask.cells:,}" if stage.mask else "all",
                f"{stage.n_train:,} examples",
                seconds(stage.elapsed_s),
                short(stage.artifact),
            )
            if stage
            else ("", "pending", "", "")
        )
        if held_back is not None and held_back.stage.position == position:
            duration, artifact = seconds(held_back.stage.elapsed_s), short(held_back.stage.artifact)
            training = ("", "held back", duration, artifact)
        add_row(table, stage_name(position, task.label), f"{task.eval_set.n:,}", *training)
    console.print(table)
    if held_back is not None:
        accept = f"lori-cl run CURRICULUM --name {run.name} --accept {held_back.stage.task}"
        print_line(console, f"held back: {held_back.why}; accept it: {accept}")
    console.print()
    facts = {"started": f"{minute(run.created_at)} UTC", "base digest": run.base_digest}
    for key, value in {**facts, **_set_fields(run.curriculum)}.items():
        print_line(console, f"  {key}: {value}")


def print_unused_files(found: Sequence[GarbageFile], console: Console, *, deleted: bool) -> None:
    """Print unused files, one per line, and the command that deletes them."""
    if not found:
        return print_line(console, "no unused files")
    table = plain_table(["unused file", "reason", "bytes"], numbers=1)
    for file in found:
        add_row(table, file.name, file.reason, f"{file.bytes:,}")
    console.print(table)
    total = f"{len(found):,} unused, {sum(file.bytes for file in found):,} bytes"
    return print_line(console, f"{total}: deleted" if deleted else f"{total}; delete: lori-cl gc --delete")


def print_lineage(run: Run, console: Console) -> None:
    """Print the lineage of one run with full digests."""
    print_line(console, f"{run.name}: {run_title(run)}", "bold")
    for section in lineage_sections(run):
        print_line(console, section.title, "bold")
        for fact in section.facts:
            text = ", ".join(filter(None, (fact.value, fact.digest and f"digest {fact.digest}")))
            # Not wrapped: a digest that spans two lines cannot be searched for.
            console.print(Text(f"  {fact.name}: {text}"), soft_wrap=True)


def _source(task: Task) -> str:
    """Return 'local agnews or hub fancyzhx/ag_news', with ' (unverified)' if it is."""
    source = task.spec.get("source") or {}
    places = describe_source(source)
    train_source = (task.spec.get("train") or {}).get("source") or {}
    unverified = source.get("unverified") or train_source.get("unverified")
    return f"{places} (unverified)" if unverified else places


def _set_fields(record: Mapping[str, Any]) -> dict[str, str]:
    """Return every field of a declaration as text, without unset fields."""
    fields = flatten(record).items()
    return {
        field: ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for field, value in fields
        if value not in (None, "", (), [])
    }
