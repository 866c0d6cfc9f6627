"""Export every trained task of a run, for a server of several adapters."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lori_cl.adapters import check_writable
from lori_cl.evaluation import LoadedRun
from lori_cl.models.location import locate_model
from lori_cl.serving.export import ExportResult, export
from lori_cl.serving.vllm import fitting_rank, rank_note, serve_command


@dataclass(frozen=True)
class ExportAllResult:
    """The exported folders of a run."""

    folder: Path
    exports: Sequence[ExportResult]
    """One for each task, in training order."""
    vllm_command: str | None
    """The command that serves them with vLLM; None if it cannot."""
    vllm_note: str | None
    """Why vLLM cannot serve them, or about the rank in the command; None if there is nothing to say."""


def export_all(loaded: LoadedRun, folder: Path, *, verify: bool = True) -> ExportAllResult:
    """Write the adapter of every trained task into `folder/TASK`.

    Raises: see `export`. The folder is removed then.
    """
    check_writable(folder)
    tasks = [state.task for state in loaded.history]
    try:
        exports = [export(loaded, task, folder / task, verify=verify) for task in tasks]
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return ExportAllResult(folder, exports, *_vllm(loaded, exports))


def _vllm(loaded: LoadedRun, exports: Sequence[ExportResult]) -> tuple[str | None, str | None]:
    """Return the command that serves the exports, and a note."""
    spec, rank = loaded.curriculum.model, max(each.rank for each in exports)
    architecture, place = loaded.base.architecture, locate_model(spec)
    if architecture != "causal-lm":
        return (
            None,
            f"vLLM serves adapters of causal language models, and the base is of type {architecture}",
        )
    if place.gguf is not None:
        return None, "vLLM needs the base model as safetensors, and it is a GGUF file; use --merged"
    if fitting_rank(rank) is None:
        return None, rank_note(rank)
    notes = [rank_note(rank)]
    if spec.quantization is not None:
        notes.append(f"the run quantised the base to {spec.quantization.bits} bits; the command does not")
    folders = {each.tasks[0]: each.folder for each in exports}
    command = serve_command(place.repository, spec.revision, folders, rank)
    return command, "; ".join(filter(None, notes)) or None
