"""Runs that are served: of written tasks on the tiny causal language model, and one that is made once."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from lori_cl.registry import Workspace
from lori_cl.spec import load_curriculum
from lori_cl.training import LoadedRun, RunOptions, SilentObserver, enrol, load_run, run_curriculum


@pytest.fixture
def writing_run(workspace: Workspace, tmp_path: Path, tiny_causal_lm: Path) -> LoadedRun:
    """Two generation tasks that decode alike, and a multiple-choice one."""
    folder = tmp_path / "declared"
    for name, answers in (("say", ("red", "blue")), ("turn", ("blue", "red")), ("pick", ("red", "blue"))):
        (folder / name).mkdir(parents=True)
        for split, words in (("train", ("wet", "dry")), ("test", ("flat", "small"))):
            rows = [{"q": f"it is {w}", "a": a} for w in words for a in answers]
            rows = [row | {"q": f"{row['q']} {i % 2 * 'is'} it"} for i, row in enumerate(rows)]
            lines = [json.dumps(row) + "\n" for row in rows]
            (folder / name / f"{split}.jsonl").write_text("".join(lines))
    common = {"source": {"local": "?"}, "prompt": "{{ q }}"}
    specs = {
        "say": {"kind": "generation", "answer": "{{ a }}", "max_new_tokens": 2},
        "turn": {"kind": "generation", "answer": "{{ a }}", "max_new_tokens": 2},
        "pick": {
            "kind": "multiple_choice",
            "choices": ["red", "blue"],
            "answer": "{{ a }}",
            "answer_is": "text",
        },
    }
    for name, spec in specs.items():
        declared = {**common, "name": name, "source": {"local": name}, "allow_duplicates": True, **spec}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(declared))
    enrol(workspace, [folder / f"{name}.yaml" for name in specs])
    file = tmp_path / "writing.yaml"
    curriculum = {
        "name": "writing",
        "model": {"path": str(tiny_causal_lm)},
        "tasks": list(specs),
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
