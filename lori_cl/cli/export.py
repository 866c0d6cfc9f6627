"""The command `lori-cl export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lori_cl.api.run import Run
from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import print_line
from lori_cl.cli.paths import UserPath
from lori_cl.cli.workspace import pass_workspace

if TYPE_CHECKING:  # imports torch
    from lori_cl.serving.export import ExportResult


@click.command()
@click.argument("run")
@click.option("--task", help="Export the adapter of this task, as trained.")
@click.option(
    "--view", type=click.Choice(["current"]), help="Export the adapter of all tasks trained so far."
)
@click.option("--all", "every", is_flag=True, help="Export every trained task, each to FOLDER/TASK.")
@click.option(
    "--merged",
    is_flag=True,
    help="Write full weights instead: the base model with the adapter merged in, and its tokenizer.",
)
@click.option(
    "--gguf-lora",
    is_flag=True,
    help="Also write FOLDER/adapter.gguf for llama.cpp, with its convert_lora_to_gguf.py.",
)
@click.option(
    "--gguf-converter",
    type=UserPath(),
    help="The path of convert_lora_to_gguf.py (default: LORI_CL_GGUF_CONVERTER, or the one on PATH).",
)
@click.option(
    "--out", type=UserPath(), required=True, help="The folder to write; it must not exist yet, or be empty."
)
@click.option(
    "--no-verify",
    is_flag=True,
    help="Skip loading the folder to compare its outputs with the run's.",
)
@pass_workspace
def export(
    workspace: Workspace,
    run: str,
    task: str | None,
    view: str | None,
    every: bool,
    merged: bool,
    gguf_lora: bool,
    gguf_converter: Path | None,
    out: Path,
    no_verify: bool,
) -> None:
    """Export RUN, or one of its tasks, as a standard PEFT LoRA folder for PeftModel.from_pretrained.

    A task is exported as trained. In a run with stacked tasks, that includes the cells of earlier tasks. Do
    not add such adapters up: use `lori-cl merge`, which takes only the cells of each task. With --all, the
    command that serves all tasks with vLLM is printed.

    \b
    Example:
      lori-cl export first --task agnews --out agnews-lora
      lori-cl export first --view current --out first-lora
      lori-cl export first --all --out loras
      lori-cl export first --task agnews --merged --out agnews-model
    """
    if [task is not None, view is not None, every].count(True) != 1:
        raise click.UsageError("export requires one of --task TASK, --view current and --all")
    if every and merged:
        raise click.UsageError("--merged writes one model; replace --all by --task TASK or --view current")
    found = Run(workspace, run)
    if not every:
        one = found.export(
            task,
            out,
            verify=not no_verify,
            merged=merged,
            gguf_lora=gguf_lora,
            gguf_converter=gguf_converter,
        )
        _print_export(one)
        _print_steps(one)
        return
    done = found.export_all(out, verify=not no_verify, gguf_lora=gguf_lora, gguf_converter=gguf_converter)
    for exported in done.exports:
        _print_export(exported)
    _print_steps(done.exports[0])
    if done.vllm_command is not None:
        print_line(f"Serve them: {done.vllm_command}")
    if done.vllm_note is not None:
        print_line(f"Note: {done.vllm_note}.")


def _print_export(done: ExportResult) -> None:
    base_tasks = f", trained on top of {', '.join(done.stacked_on)}" if done.stacked_on else ""
    content = "the base model with the LoRA merged in" if done.merged else f"a LoRA of rank {done.rank}"
    print_line(f"Wrote {done.folder}: {content} for {', '.join(done.tasks)}{base_tasks}.")
    if done.heads:
        print_line(f"Heads: {', '.join(done.heads)}; README.md shows how to load them.")
    if done.largest_difference is not None:
        difference = done.largest_difference
        verdict = f"differ by at most {difference:g}" if difference else "are bitwise equal"
        checked = "Checked" if done.merged else "Checked with PEFT"
        print_line(f"{checked}: the outputs of the folder and of the run {verdict}.")
    if done.gguf is not None:
        print_line(f"Wrote {done.gguf}; use it with: llama-server -m BASE.gguf --lora {done.gguf}")


def _print_steps(done: ExportResult) -> None:
    """Print how to write a GGUF LoRA, if there was no converter."""
    if done.gguf_steps:
        print_line(
            "No GGUF file was written: llama.cpp's convert_lora_to_gguf.py was not found. To write one:"
        )
        for step in done.gguf_steps:
            print_line(f"  {step}")
