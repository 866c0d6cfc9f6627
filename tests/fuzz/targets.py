"""The fuzz targets: what is done with an input. Each target is created once in its own folder."""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest.mock import patch

from lori_cl import digest
from lori_cl.errors import DataError
from tests.attempts import refusal_of

Attempt = Callable[[bytes], object]

SETTINGS = b"\0"
"""Separates a curriculum from its --set overrides; YAML cannot contain it."""
TASKS_PER_REGISTRY = 50
"""Number of added tasks after which the registry is reset; many versions of a task would slow it down."""


def task(folder: Path) -> Attempt:
    """Add a task file; next to it are valid data and a link to data that it must not reach."""
    from lori_cl.registry import Workspace
    from lori_cl.spec import load_task
    from lori_cl.task_data import register_tasks
    from lori_cl.tasks import read_task, sources

    workspace = Workspace(folder / "workspace")
    workspace.create()
    fresh = Path(shutil.copy(workspace.root / "registry.db", folder / "fresh.db"))
    declared = workspace.root / "tasks"
    _write_data(declared / "data")
    (declared / "link").symlink_to(folder.parent / "outside")
    file = declared / "task.yaml"
    done = 0

    def attempt(content: bytes) -> None:
        nonlocal done
        file.write_bytes(content)
        with patch.object(sources, "_read_hub", _no_hub):
            read_task(load_task(file), declared)
            register_tasks(workspace, [file])
        done += 1
        if done % TASKS_PER_REGISTRY == 0:
            shutil.copy(fresh, workspace.root / "registry.db")

    return attempt


def curriculum(folder: Path) -> Attempt:
    """Load a curriculum file with --set overrides, and write its record."""
    from lori_cl.spec import CurriculumSpec, load_curriculum

    file = folder / "curriculum.yaml"
    known = {"method": ["lori", "sequential-lora"], "masks.strategy": ["magnitude", "random"]}

    def attempt(content: bytes) -> None:
        text, *settings = content.split(SETTINGS)
        file.write_bytes(text)
        spec = load_curriculum(file, [os_text(setting) for setting in settings], known)
        record = spec.to_record()
        digest.of_json(record)
        assert CurriculumSpec.model_validate(record) == spec
        spec.run_name(None)

    return attempt


def rows(folder: Path) -> Attempt:
    """Read a data file for several kinds of tasks; the first byte selects one of three formats."""
    from lori_cl.tasks import from_jsonl, read_task, to_jsonl
    from tests.tasks.task_files import classification, generation, multiple_choice

    inferred = classification(columns={"text": "{{ text }}"}, allow_duplicates=True, train={"split": "test"})
    conversation = {"format": "messages", "prompt": "", "answer": ""}
    tasks = [
        inferred.model_copy(update={"labels": ()}),
        generation(**conversation, allow_duplicates=True, train={"split": "test"}),
        classification(columns={"text": "{{ text }}"}, allow_duplicates=True, train={"split": "test"}),
        generation(prompt="{{ text }}", answer="{{ label }}", allow_duplicates=True, train={"split": "test"}),
        multiple_choice(
            prompt="{{ text }}",
            choices="text",
            answer="{{ label }}",
            allow_duplicates=True,
            train={"split": "test"},
        ),
    ]
    data = folder / "data"
    data.mkdir()

    def attempt(content: bytes) -> None:
        extension = ("jsonl", "json", "csv")[content[0] % 3] if content else "jsonl"
        file = data / f"test.{extension}"
        file.write_bytes(content[1:])
        try:
            for each in tasks:
                refusal_of(lambda each=each: _read_back(read_task(each, folder).held_out))
        finally:
            file.unlink()

    def _read_back(examples: list) -> None:  # type: ignore[type-arg]
        assert from_jsonl(to_jsonl(examples)) == examples

    return attempt


def workbook(folder: Path) -> Attempt:
    """Read an XLSX file; an input is its parts as a JSON object, or the archive itself."""
    from lori_cl.tasks import read_task
    from tests.tasks.task_files import classification

    source = {"local": "data.xlsx"}
    task = classification(source=source, train={"source": source}, allow_duplicates=True)
    file = folder / "data.xlsx"

    def attempt(content: bytes) -> None:
        try:
            parts = json.loads(content)
            with zipfile.ZipFile(file, "w") as archive:
                for name, part in parts.items():
                    archive.writestr(name, part)
        except (ValueError, TypeError, AttributeError, struct.error, OverflowError):
            file.write_bytes(content)
        read_task(task, folder)

    return attempt


def template(_: Path) -> Attempt:
    """Render a prompt template with a row."""
    from lori_cl.tasks.prompts import only_column, render

    row = {
        "text": "it is red",
        "choices": ["red", "blue"],
        "n": 7,
        "deep": {"a": [1, {"b": None}]},
        "no": None,
    }

    def attempt(content: bytes) -> None:
        written = content.decode(errors="replace")
        assert render(written, row, "prompt", "here") == render(written, row, "prompt", "here")
        only_column(written)

    return attempt


def stage(folder: Path) -> Attempt:
    """Store a stage file, read it back, and convert it to a LoRI stage with a head."""
    import torch

    from lori_cl.adapters import Site
    from lori_cl.evaluation.stage_file import head_mismatch, read_metadata, read_stage
    from lori_cl.methods import StageState
    from lori_cl.methods.lori.stage import LoRIStage
    from lori_cl.registry import ArtifactStore

    store = ArtifactStore(folder / "artifacts")
    sites = [Site("one", 5, 2, 3), Site("two", 5, 4, 3)]

    def attempt(content: bytes) -> None:
        sha256 = store.put(content, "safetensors")
        try:
            stored = store.get(sha256, "safetensors")
        finally:
            store.path(sha256, "safetensors").unlink()
        refusal_of(lambda: read_metadata(stored))
        tensors, head = read_stage(stored)
        head_mismatch(torch.nn.Linear(2, 2), head)
        read = LoRIStage.from_state(StageState("a", tensors, {}), sites)
        assert read.mask.count() == sum(values.numel() for values in read.values.values())
        repeated = LoRIStage.from_state(StageState("a", read.to_tensors(), {}), sites)
        assert repeated.mask.digest() == read.mask.digest()

    return attempt


def statistics(_: Path) -> Attempt:
    """Read a file of statistics, and route features with it."""
    import numpy as np
    import torch

    from lori_cl.evaluation.stage_file import read_tensors
    from lori_cl.routing import Router, TaskStatistics

    other = TaskStatistics.of(np.arange(12.0).reshape(4, 3))

    def attempt(content: bytes) -> None:
        tensors = read_tensors(content, "a task's statistics")
        stored = {name: t.numpy() for name, t in tensors.items() if t.dtype in (torch.float64, torch.int64)}
        read = TaskStatistics.from_arrays(stored)
        if len(read.mean) == len(other.mean):
            Router.fit({"other": other, "read": read}).route(np.ones((2, 3)))

    return attempt


def eval_set(_: Path) -> Attempt:
    """Read an eval set file, and check whether it can be scored."""
    from lori_cl.tasks import from_jsonl, require_scorable
    from tests.tasks.task_files import generation

    tasks = [
        generation(metric=metric)
        for metric in ("exact_match", "numeric_match", "json_match", "f1", "edit_similarity")
    ]

    def attempt(content: bytes) -> None:
        examples = from_jsonl(content)
        for each in tasks:
            refusal_of(lambda each=each: require_scorable(each, examples))

    return attempt


def adapter(folder: Path) -> Attempt:
    """Read a PEFT folder: its configuration up to the null byte, then weights; '!' means a `.bin` file."""
    from lori_cl.adapters import read_external_adapter

    def attempt(content: bytes) -> None:
        binary = content.startswith(b"!")
        config, _, weights = content.removeprefix(b"!").partition(b"\0")
        shutil.rmtree(folder / "adapter", ignore_errors=True)
        (folder / "adapter").mkdir()
        (folder / "adapter" / "adapter_config.json").write_bytes(config)
        (folder / "adapter" / f"adapter_model.{'bin' if binary else 'safetensors'}").write_bytes(weights)
        read_external_adapter(folder / "adapter")

    return attempt


TARGETS: Mapping[str, Callable[[Path], Attempt]] = {
    "task": task,
    "curriculum": curriculum,
    "rows": rows,
    "template": template,
    "stage": stage,
    "statistics": statistics,
    "eval-set": eval_set,
    "adapter": adapter,
    "workbook": workbook,
}


def os_text(raw: bytes) -> str:
    """Decode bytes as Python decodes a command line."""
    return raw.decode(errors="surrogateescape")


def _no_hub(*_: object) -> None:
    raise DataError("the fuzz tests make no request to the hub")


def _write_data(folder: Path) -> None:
    folder.mkdir(parents=True)
    row = {"text": "it is red", "label": "red", "q": "1 + 1", "a": "2", "x": "one", "y": "two", "n": 0}
    more = {"choices": ["one", "two"], "expect": "refuse", "deep": {"text": ["one", "two"]}, "none": None}
    for split, text in (("train", "it is"), ("test", "is it")):
        lines = [
            json.dumps({**row, **more, "text": f"{text} {word}", "q": f"{text} {word}"}) for word in "abc"
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
