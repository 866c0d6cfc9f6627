"""Runs that are served: of written tasks on the tiny causal language model, and one that is made once."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from lori_cl.registry import Workspace
from lori_cl.spec import load_curriculum
from lori_cl.training import LoadedRun, RunOptions, SilentObserver, enrol, load_run, run_curriculum


@pytest.fixture
def declare_writing(workspace: Workspace, tmp_path: Path) -> Callable[..., None]:
    """Add a task whose prompts ask for the answers in turn; keyword arguments are fields of its file."""

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
        enrol(workspace, [folder / f"{name}.yaml"])

    return declare


@pytest.fixture
def writing_run(
    workspace: Workspace, tmp_path: Path, tiny_causal_lm: Path, declare_writing: Callable[..., None]
) -> LoadedRun:
    """Two generation tasks that decode alike, and a multiple-choice one."""
    declare_writing("say", ("red", "blue"), max_new_tokens=2)
    declare_writing("turn", ("blue", "red"), max_new_tokens=2)
    picked = {"kind": "multiple_choice", "choices": ["red", "blue"], "answer_is": "text"}
    declare_writing("pick", ("red", "blue"), **picked)
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
    run_curriculum(workspace, load_curriculum(file), "run", RunOptions(), SilentObserver())
    with workspace.read() as registry:
        return load_run(workspace, registry, "run")


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workspace of `learned` stays."""
    return tmp_path_factory.mktemp("kept") / "workspace"


@pytest.fixture
def learned(kept: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Workspace:
    """A copy of a workspace with 'run', which has learned a and b and is scored under every view."""
    if not kept.exists():
        views = ["as_trained", "current", "routed"]
        request.getfixturevalue("learn")("a", "b", eval={"batch_size": 4, "views": views})
        shutil.copytree(request.getfixturevalue("workspace").root, kept)
    return Workspace(Path(shutil.copytree(kept, tmp_path / "copied")))
