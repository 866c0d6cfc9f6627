"""A served run of language tasks, trained and loaded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from lori_cl.evaluation import LoadedRun, load_run
from lori_cl.registry import Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.serving.openai_server.app import Limits, create_app
from lori_cl.serving.openai_server.engine import Engine
from lori_cl.serving.route import RouteOptions, route_run
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions, run_curriculum

Client = Callable[..., TestClient]


@pytest.fixture(scope="session")
def kept() -> dict[str, Any]:
    """Keep what the first test made for the others."""
    return {}


@pytest.fixture
def served_run(
    kept: dict[str, Any],
    workspace: Workspace,
    tmp_path: Path,
    tiny_causal_lm: Path,
    declare_generation: Callable[..., None],
) -> LoadedRun:
    """Return a run that answers `say` with four words and `turn` with two, and picks in `pick`."""
    if "run" not in kept:
        declare_generation("say", ("red blue green round", "red blue green flat"), max_new_tokens=5)
        declare_generation("turn", ("blue red", "blue wet"), max_new_tokens=5)
        choice = {"kind": "multiple_choice", "choices": ["red", "blue"], "answer_is": "text"}
        declare_generation("pick", ("red", "blue"), **choice)
        curriculum = {
            "name": "words",
            "model": {"path": str(tiny_causal_lm)},
            "tasks": ["say", "turn", "pick"],
            "adapter": {"rank": 4, "alpha": 8},
            "masks": {"strategy": "random"},
            "train": {"epochs": 12, "batch_size": 4, "lr": 0.1, "max_length": 16},
        }
        file = tmp_path / "words.yaml"
        file.write_text(yaml.safe_dump(curriculum))
        run_curriculum(workspace, load_curriculum(file), "run", RunOptions(), SilentProgress())
        route_run(workspace, "run", RouteOptions(), SilentProgress())
        with workspace.read() as registry:
            kept["run"] = load_run(workspace, registry, "run")
    return kept["run"]


@pytest.fixture
def engine(kept: dict[str, Any], served_run: LoadedRun) -> Engine:
    """Return the engine of the run."""
    if "engine" not in kept:
        kept["engine"] = Engine(served_run, max_tokens=20)
    return kept["engine"]


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    """Return a function that returns a client of the run's server; keyword arguments are its limits."""
    opened: list[TestClient] = []

    def connect(api_key: str | None = None, **limits: int) -> TestClient:
        app = create_app(engine, Limits(**{"max_tokens": 20, **limits}), api_key)
        found = TestClient(app, raise_server_exceptions=False)
        opened.append(found.__enter__())
        return found

    yield connect
    for each in opened:
        each.__exit__(None, None, None)
