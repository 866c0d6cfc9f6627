"""Fixtures that the tests of several packages share.

pytest-xdist's controller reads this file and runs no test, so torch is imported in the fixtures.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from lori_cl.registry import Evaluation, Run, Workspace
    from lori_cl.runtime import Progress
    from lori_cl.training import RunOptions
    from tests.postgres import Postgres
    from tests.preloaded import PreloadedProcess

os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest -n 2 uses both cores


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def _freeze_garbage_collector() -> None:
    """Freeze the libraries' objects; the Trainer's garbage collection would take half of a tiny run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Yield a PostgreSQL server. If it is not installed, skip the test; in CI, fail."""
    from tests.postgres import find_binaries, running

    binaries = find_binaries()
    if binaries is None:
        missing = "PostgreSQL is not installed: apt-get install postgresql"
        pytest.fail(missing) if os.environ.get("LORI_CL_CI") else pytest.skip(missing)
    with running(binaries) as server:
        yield server


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreloadedProcess]:
    """Yield a process whose forks run `lori-cl`, for tests that start it many times."""
    from tests.preloaded import preloaded_process

    with preloaded_process(tmp_path_factory.mktemp("preloaded")) as process:
        yield process


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import make_encoder

    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def tiny_causal_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import make_causal_lm

    return make_causal_lm(tmp_path_factory.mktemp("causal-lm"))


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import make_t5

    return make_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="session")
def tiny_bart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import make_bart

    return make_bart(tmp_path_factory.mktemp("bart"))


@pytest.fixture(scope="session")
def empty_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace with an empty registry; it is created once because migrations are slow."""
    from lori_cl.registry import Workspace

    root = tmp_path_factory.mktemp("empty") / "workspace"
    Workspace(root).create()
    return root


@pytest.fixture
def workspace(tmp_path: Path, empty_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    from lori_cl.registry import Workspace

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets-cache"))
    return Workspace(copytree(empty_workspace, tmp_path / "workspace"))


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that declares a classification task; see `declare_task`."""
    from tests.tiny import declare_task

    return partial(declare_task, tmp_path / "declared")


@pytest.fixture
def write_curriculum(tmp_path: Path, tiny_encoder: Path) -> Callable[..., Path]:
    """Return a function that writes a curriculum for the tiny encoder; keyword arguments replace fields."""
    from tests.tiny import tiny_curriculum

    def write(*tasks: str, **fields: object) -> Path:
        file = tmp_path / "curriculum.yaml"
        file.write_text(yaml.safe_dump(tiny_curriculum(tiny_encoder, tasks, **fields)))
        return file

    return write


@pytest.fixture
def train_run(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> Callable[..., Run]:
    """Return a function that adds tasks, runs a curriculum over them and returns the run."""
    from lori_cl.runtime import SilentProgress
    from lori_cl.spec import load_curriculum
    from lori_cl.task_data import register_tasks
    from lori_cl.training import RunOptions, run_curriculum

    def run(
        *tasks: str,
        name: str = "run",
        options: RunOptions | None = None,
        into: Workspace = workspace,
        progress: Progress | None = None,
        **fields: object,
    ) -> Run:
        register_tasks(into, [write_task(task) for task in tasks])
        spec = load_curriculum(write_curriculum(*tasks, **fields))
        return run_curriculum(into, spec, name, options or RunOptions(), progress or SilentProgress())

    return run


@pytest.fixture
def scores(workspace: Workspace) -> Callable[..., dict[tuple[int, str, str], Evaluation]]:
    """Return a function that reads a run's evaluations by (stage, task, view)."""

    def read(run: str = "run") -> dict[tuple[int, str, str], Evaluation]:
        with workspace.read() as registry:
            return {(e.stage, e.task, e.view): e for e in registry.evaluations(run)}

    return read


@pytest.fixture(scope="module")
def kept_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that keeps a trained workspace for the tests of a module."""
    return tmp_path_factory.mktemp("kept") / "workspace"


@pytest.fixture
def train_once(kept_workspace: Path, workspace: Workspace) -> Callable[[Callable[[], object]], None]:
    """Return a function that trains in the first test of a module, and copies its workspace in the others."""

    def once(train: Callable[[], object]) -> None:
        if kept_workspace.exists():
            copytree(kept_workspace, workspace.root, dirs_exist_ok=True)
        else:
            train()
            copytree(workspace.root, kept_workspace)

    return once
