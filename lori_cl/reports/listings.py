"""Tasks and runs in the terminal, listed or one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from lori_cl.registry import Leftover, Run, RunSummary, SetAside, Task, flat
from lori_cl.reports.lineage import lineage_sections
from lori_cl.reports.plain import add_row, plain_table, say
from lori_cl.reports.wording import minute, run_title, seconds, short, source_words, stage_name


def print_tasks(tasks: Sequence[Task], console: Console) -> None:
    """Every version of every task, one a line."""
    if not tasks:
        return say(console, "no tasks yet; add one: lori-cl add-task FILE")
    table = plain_table(["task", "version", "kind", "metric", "eval examples", "eval set", "source"])
    for task in tasks:
        examples = f"{task.eval_set.n:,}"
        what = (task.kind, task.metric, examples, short(task.eval_set.digest), _source(task))
        add_row(table, task.name, str(task.version), *what)
    return console.print(table)


def print_task(task: Task, console: Console) -> None:
    """One version of a task, its declaration line by line."""
    say(console, task.label, "bold")
    told = {
        "version": task.version,
        "added": minute(task.created_at),
        "declared in": task.declared_in or ".",
        "eval set": f"{task.eval_set.n:,} examples, digest {task.eval_set.digest}",
    }
    for key, value in {**told, **_set({k: v for k, v in task.spec.items() if k != "name"})}.items():
        say(console, f"  {key}: {value}")


def print_runs(runs: Sequence[Run | RunSummary], console: Console) -> None:
    """Every run, one a line."""
    if not runs:
        return say(console, "no runs yet; begin one: lori-cl run CURRICULUM")
    table = plain_table(["run", "method", "seed", "stages", "model", "begun (UTC)"])
    for run in runs:
        stages = f"{run.stages_done} of {len(run.task_labels)}"
        begun = minute(run.created_at)
        add_row(table, run.name, run.method, str(run.seed), stages, run.base_path, begun)
    return console.print(table)


def print_run(run: Run, console: Console, *, aside: SetAside | None = None) -> None:
    """One run: its stages done, set aside and to come, and its settings."""
    say(console, f"{run.name}: {run_title(run)}", "bold")
    table = plain_table(["stage", "eval examples", "cells", "trained on", "took", "artifact"])
    done = {stage.task: stage for stage in run.stages}
    for position, task in enumerate(run.tasks, start=1):
        stage = done.get(task.label)
        learned = (
            (
                f"{stage.mask.cells:,}" if stage.mask else "all",
                f"{stage.n_train:,} examples",
                seconds(stage.elapsed_s),
                short(stage.artifact),
            )
            if stage
            else ("", "to come", "", "")
        )
        if aside is not None and aside.stage.position == position:
            learned = ("", "set aside", seconds(aside.stage.elapsed_s), short(aside.stage.artifact))
        add_row(table, stage_name(position, task.label), f"{task.eval_set.n:,}", *learned)
    console.print(table)
    if aside is not None:
        take = f"lori-cl run CURRICULUM --name {run.name} --accept {aside.stage.task}"
        say(console, f"set aside: {aside.why}; take it: {take}")
    console.print()
    told = {"begun": f"{minute(run.created_at)} UTC", "base digest": run.base_digest}
    for key, value in {**told, **_set(run.curriculum)}.items():
        say(console, f"  {key}: {value}")


def print_leftovers(found: Sequence[Leftover], console: Console, *, deleted: bool) -> None:
    """What nothing needs, one a line, and how to be rid of it."""
    if not found:
        return say(console, "nothing is left over")
    table = plain_table(["left over", "why", "bytes"], numbers=1)
    for leftover in found:
        add_row(table, leftover.name, leftover.why, f"{leftover.bytes:,}")
    console.print(table)
    in_all = f"{len(found):,} left over, {sum(leftover.bytes for leftover in found):,} bytes"
    return say(console, f"{in_all}: deleted" if deleted else f"{in_all}; lori-cl gc --delete deletes them")


def print_lineage(run: Run, console: Console) -> None:
    """What one run was made from, every digest written out."""
    say(console, f"{run.name}: {run_title(run)}", "bold")
    for section in lineage_sections(run):
        say(console, section.title, "bold")
        for fact in section.facts:
            told = ", ".join(filter(None, (fact.value, fact.digest and f"digest {fact.digest}")))
            # Not wrapped: a digest on two lines cannot be searched for.
            console.print(Text(f"  {fact.name}: {told}"), soft_wrap=True)


def _source(task: Task) -> str:
    """'local agnews or hub fancyzhx/ag_news', and whether nobody has checked that."""
    source = task.spec.get("source") or {}
    places = source_words(source)
    learned_from = (task.spec.get("train") or {}).get("source") or {}
    unverified = source.get("unverified") or learned_from.get("unverified")
    return f"{places} (unverified)" if unverified else places


def _set(record: Mapping[str, Any]) -> dict[str, str]:
    """Every field of a declaration in words; what is not set is left out."""
    fields = flat(record).items()
    return {
        field: ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for field, value in fields
        if value not in (None, "", (), [])
    }
