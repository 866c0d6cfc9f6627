"""What several rooms' tests share."""

import gc
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from shutil import copytree

import pytest
import torch
import yaml

from lori_cl.registry import Evaluation, Run, Workspace
from lori_cl.spec import load_curriculum
from lori_cl.training import Observer, RunOptions, SilentObserver, enrol, run_curriculum
from tests.postgres import Postgres, find_binaries, running

from .tiny import declare_task, make_causal_lm, make_encoder, tiny_curriculum


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # pytest -n 2 fills two cores


@pytest.fixture(scope="module", autouse=True)
def _nothing_old_collected() -> None:
    """The Trainer collects garbage after every lesson: half of a tiny run, if that looks at the libraries."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server; where it is not installed the test is skipped, and in CI it fails."""
    binaries = find_binaries()
    if binaries is None:
        missing = "PostgreSQL is not installed: apt-get install postgresql"
        pytest.fail(missing) if os.environ.get("LORI_CL_CI") else pytest.skip(missing)
    with running(binaries) as server:
        yield server


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def tiny_causal_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_causal_lm(tmp_path_factory.mktemp("causal-lm"))


@pytest.fixture(scope="session")
def empty_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new workspace with an empty registry, made once, since migrating takes its time."""
    root = tmp_path_factory.mktemp("empty") / "workspace"
    Workspace(root).create()
    return root


@pytest.fixture
def workspace(tmp_path: Path, empty_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets-cache"))
    return Workspace(copytree(empty_workspace, tmp_path / "workspace"))


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[..., Path]:
    """Declare a classification task: see `declare_task`."""
    return partial(declare_task, tmp_path / "declared")


@pytest.fixture
def write_curriculum(tmp_path: Path, tiny_encoder: Path) -> Callable[..., Path]:
    """Write a curriculum for the tiny encoder; keyword arguments replace whole fields."""

    def write(*tasks: str, **fields: object) -> Path:
        file = tmp_path / "curriculum.yaml"
        file.write_text(yaml.safe_dump(tiny_curriculum(tiny_encoder, tasks, **fields)))
        return file

    return write


@pytest.fixture
def learn(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> Callable[..., Run]:
    """Add the tasks, run the curriculum over them, return the run."""

    def run(
        *tasks: str,
        name: str = "run",
        options: RunOptions | None = None,
        into: Workspace = workspace,
        observer: Observer | None = None,
        **fields: object,
    ) -> Run:
        enrol(into, [write_task(task) for task in tasks])
        spec = load_curriculum(write_curriculum(*tasks, **fields))
        return run_curriculum(into, spec, name, options or RunOptions(), observer or SilentObserver())

    return run


@pytest.fixture
def scores(workspace: Workspace) -> Callable[..., dict[tuple[int, str, str], Evaluation]]:
    """A run's evaluations by (stage, task, view)."""

    def read(run: str = "run") -> dict[tuple[int, str, str], Evaluation]:
        with workspace.read() as registry:
            return {(e.stage, e.task, e.view): e for e in registry.evaluations(run)}

    return read
