"""Where an exported folder comes from: the file `lori_cl.json` next to the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lori_cl
from lori_cl import digest
from lori_cl.errors import one_line
from lori_cl.evaluation import LoadedRun
from lori_cl.registry import Evaluation, Run
from lori_cl.spec import View

FILE = "lori_cl.json"

FORMAT = "lori_cl export 1"

Provenance = Mapping[str, Any]
"""The content of the file, without the digests of the other files."""


def base_record(run: Run) -> dict[str, Any]:
    """Return the path or hub id, the revision and the digest of a run's base model."""
    return {"path": run.base_path, "revision": run.base_revision, "digest": run.base_digest}


def provenance_of(loaded: LoadedRun, view: View, tasks: Sequence[str]) -> Provenance:
    """Return the provenance of an export of these tasks under a view, with their scores under it."""
    run = loaded.run
    with loaded.workspace.read() as registry:
        scores = registry.score_log(run.name)
    return {
        "base": base_record(run),
        "run": run.name,
        "method": run.method,
        "seed": run.seed,
        "view": str(view),
        "tasks": [_task_record(loaded, view, task, scores) for task in tasks],
    }


def _task_record(loaded: LoadedRun, view: View, label: str, scores: Sequence[Evaluation]) -> dict[str, Any]:
    run, position = loaded.run, loaded.position(label)
    task, stage = run.tasks[position], run.stages[position]
    after = stage.position if view is View.AS_TRAINED else len(loaded.history)
    wanted = (label, str(view), after)
    score = next((each for each in scores if (each.task, str(each.view), each.stage) == wanted), None)
    return {
        "task": task.name,
        "version": task.version,
        "stage": stage.position,
        "artifact": stage.artifact,
        "score": None if score is None else _score_record(score),
    }


def _score_record(score: Evaluation) -> dict[str, Any]:
    return {
        "metric": score.metric,
        "value": score.score,
        "stderr": score.stderr,
        "n": score.n,
        "after_stage": score.stage,
    }


def write_provenance(folder: Path, provenance: Provenance) -> Mapping[str, str]:
    """Write the file, with the SHA-256 of every safetensors file in the folder; return these by name.

    Raises: OSError, if it cannot be written.
    """
    files = {file.name: digest.of_file(file) for file in sorted(folder.glob("*.safetensors"))}
    content = {"format": FORMAT, "lori_cl": lori_cl.__version__, **provenance, "files": files}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / FILE).write_text(text, encoding="utf-8")
    return files


def provenance_lines(provenance: Provenance, files: Mapping[str, str]) -> list[str]:
    """Return the lines of a README about it: a Markdown list."""
    base = provenance["base"]
    revision = f", revision `{base['revision']}`" if base["revision"] else ""
    lines = [f"base model: `{base['path']}`{revision}, digest `{base['digest']}`"]
    if "run" in provenance:
        lines.append(f"run: `{provenance['run']}`, method {provenance['method']}, seed {provenance['seed']}")
    lines += [_task_line(task) for task in provenance.get("tasks", ())]
    lines += [f"`{name}`: SHA-256 `{sha256}`" for name, sha256 in files.items()]
    return [f"- {one_line(line)}" for line in lines]


def _task_line(task: Mapping[str, Any]) -> str:
    score = task["score"]
    scored = "not evaluated"
    if score is not None:
        error = "" if score["stderr"] is None else f" ± {score['stderr']:.4f}"
        scored = f"{score['metric']} {score['value']:.4f}{error} over {score['n']:,} examples"
    return f"task {task['task']}, version {task['version']}, trained in stage {task['stage']}: {scored}"
