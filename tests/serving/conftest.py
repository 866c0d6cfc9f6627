"""Trained runs to serve: of generation tasks on the tiny causal LM, and a run that is trained only once."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from lori_cl.evaluation import LoadedRun, load_run
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.training import RunOptions, run_curriculum


@pytest.fixture
def declare_generation(workspace: Workspace, tmp_path: Path) -> Callable[..., None]:
    """Return a function that adds a generation task; keyword arguments are fields of its file."""

    def declare(name: str, answers: Sequence[str], **fields: object) -> None:
        folder = tmp_path / "declared"
        (folder / name).mkdir(parents=True)
        for split, words in (("train", ("wet", "dry")), ("test", ("flat", "small"))):
            rows = [{"q": f"it is {w}", "a": a} for w in words for a in answers]
            rows = [row | {"q": f"{row['q']} {i % 2 * 'is'} it"} for i, row in enumerate(rows)]
            lines = [json.dumps(row) + "\n" for row in rows]
            (folder / name / f"{split}.jsonl").write_text("".join(lines))
        declared = {
            "name": name,
            "kind": "generation",
            "source": {"local": name},
            "prompt": "{{ q }}",
            "answer": "{{ a }}",
            "allow_duplicates": True,
            **fields,
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(declared))
        register_tasks(workspace, [folder / f"{name}.yaml"])

    return declare


@pytest.fixture
def generation_run(
    workspace: Workspace, tmp_path: Path, tiny_causal_lm: Path, declare_generation: Callable[..., None]
) -> LoadedRun:
    """Return a run of two generation tasks with equal decoding settings and of a multiple-choice task."""
    declare_generation("say", ("red", "blue"), max_new_tokens=2)
    declare_generation("turn", ("blue", "red"), max_new_tokens=2)
    choice_fields = {"kind": "multiple_choice", "choices": ["red", "blue"], "answer_is": "text"}
    declare_generation("pick", ("red", "blue"), **choice_fields)
    file = tmp_path / "writing.yaml"
    curriculum = {
        "name": "writing",
        "model": {"path": str(tiny_causal_lm)},
        "tasks": ["say", "turn", "pick"],
        "adapter": {"rank": 4, "alpha": 8},
        "masks": {"strategy": "random"},
        "train": {"epochs": 8, "batch_size": 4, "lr": 0.1, "max_length": 16},
    }
    file.write_text(yaml.safe_dump(curriculum))
    run_curriculum(workspace, load_curriculum(file), "run", RunOptions(), SilentProgress())
    with workspace.read() as registry:
        return load_run(workspace, registry, "run")


@pytest.fixture
def two_tasks(train_run: Callable[..., Run], train_once: Callable[[Callable[[], object]], None]) -> None:
    """Train 'run' over a and b, once for each module."""
    train_once(lambda: train_run("a", "b"))


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that keeps the workspace of `trained` for the session."""
    return tmp_path_factory.mktemp("trained") / "workspace"


@pytest.fixture
def trained(trained_folder: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Workspace:
    """Return a copy of a workspace with 'run', which has trained a and b and is scored under every view."""
    if not trained_folder.exists():
        views = ["as_trained", "current", "routed"]
        request.getfixturevalue("train_run")("a", "b", eval={"batch_size": 4, "views": views})
        shutil.copytree(request.getfixturevalue("workspace").root, trained_folder)
    return Workspace(Path(shutil.copytree(trained_folder, tmp_path / "copied")))
