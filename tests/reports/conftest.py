from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lori_cl.digest import of_bytes
from lori_cl.registry import (
    Evaluation,
    MaskRecord,
    Projection,
    Registry,
    RunStart,
    Stage,
    Task,
    Workspace,
)
from lori_cl.reports import RunReport, gather

N = 20
"""Examples per task: every score of the worked example is a multiple of 1/20."""
BASE = (0.5, 0.25, 0.05)
WORKED = ((0.6, 0.7, 0.1), (0.8, 0.5, 0.2), (0.7, 0.65, 0.9))
"""The worked example of METRICS.md."""
SITES = {"layer.0.query": (8, 4), "layer.0.value": (4, 4)}
MASK = {"layer.0.query": 3, "layer.0.value": 2}
"""5 of the 48 cells of rank 4: a density of 0.1."""
ENVIRONMENT = {"python": "3.11.9", "torch": "2.6.0", "device": "cpu", "threads": 2}

Rows = Sequence[Sequence[float | None]]


def add_task(registry: Registry, name: str, description: str = "") -> Task:
    spec = {
        "name": name,
        "kind": "classification",
        "metric": "accuracy",
        "seed": 0,
        "source": {"local": name, "hub": None},
        "labels": ["no", "yes"],
        "description": description,
    }
    return registry.add_task(spec, (of_bytes(b"eval", name.encode()), N, 999), "tasks")[0]


def curriculum(
    name: str, method: str, tasks: Sequence[Task], views: Sequence[str], seed: int
) -> dict[str, Any]:
    return {
        "name": name,
        "model": {"path": "package:tiny/model", "revision": None},
        "method": method,
        "tasks": [task.label for task in tasks],
        "seed": seed,
        "masks": {"strategy": "magnitude", "density": 0.1},
        "eval": {"limit": None, "views": list(views)},
    }


def stage(task: Task, position: int, masked: bool) -> Stage:
    name = task.label.encode()
    return Stage(
        position=position,
        task=task.label,
        artifact=of_bytes(b"stage", name),
        parent=None,
        mask=MaskRecord("magnitude", 0.1, 5, of_bytes(b"mask", name), MASK) if masked else None,
        train_digest=of_bytes(b"train", name),
        n_train=1000,
        n_truncated=12,
        steps=63,
        final_loss=0.4321,
        elapsed_s=31.4,
        train_s=25.0,
        peak_memory_bytes=812_000_000,
        seeds={"mask": 11, "train": 22, "head": 33},
    )


def evaluation(position: int, task: Task, view: str, score: float, source: str = "measured") -> Evaluation:
    correct = round(score * N)
    return Evaluation(
        stage=position,
        task=task.label,
        view=view,
        metric="accuracy",
        score=score,
        n=N,
        stderr=0.1,
        source="cached" if source == "cached" else "measured",
        input_digest=of_bytes(f"{position}{task.label}{view}".encode()),
        n_truncated=0,
        elapsed_s=0.5,
        answers=of_bytes(b"answers"),
        outcomes=tuple([1.0] * correct + [0.0] * (N - correct)),
        parts={"refusal_rate": score / 2, "answer_rate": score} if task.name == "qqp" else {},
    )


class Recorder:
    """Records runs with given scores through the registry's public API."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def run(
        self,
        name: str = "first",
        tasks: Sequence[str] = ("sst2", "agnews", "qqp"),
        rows: Rows = WORKED,
        base: Sequence[float | None] = BASE,
        method: str = "lori",
        views: Sequence[str] = ("as_trained", "current"),
        description: str = "",
        seed: int = 7,
    ) -> str:
        """Record a run. `rows` are the scores under `current`; `as_trained` keeps each task's first score."""
        added = [add_task(self.registry, task, description) for task in tasks]
        masked = method == "lori"
        start = RunStart(
            name=name,
            curriculum=curriculum(name, method, added, views, seed),
            tasks=tuple(added),
            base_digest=of_bytes(b"base"),
            projection=Projection("shared", "uniform", 99, 4, of_bytes(b"A"), SITES) if masked else None,
            environment=ENVIRONMENT,
        )
        self.registry.begin_run(start)
        first = [evaluation(0, t, "base", s) for t, s in zip(added, base, strict=True) if s is not None]
        self.registry.commit_stage(name, None, first, {of_bytes(b"answers"): ("jsonl", 1)})
        for i, row in enumerate(rows, start=1):
            scores = _as_trained(added, rows, i) if "as_trained" in views else []
            if "current" in views:
                cells = zip(added, row, strict=True)
                scores += [
                    evaluation(i, task, "current", score) for task, score in cells if score is not None
                ]
            done = stage(added[i - 1], i, masked)
            self.registry.commit_stage(name, done, scores, {done.artifact: ("safetensors", 1)})
        return name


def _as_trained(tasks: Sequence[Task], rows: Rows, i: int) -> list[Evaluation]:
    first_scores: Mapping[int, float | None] = {j: rows[j][j] for j in range(i)}
    return [
        evaluation(i, tasks[j], "as_trained", score, "measured" if j == i - 1 else "cached")
        for j, score in first_scores.items()
        if score is not None
    ]


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of an empty registry; it is created once because migrations are slow."""
    workspace = Workspace(tmp_path_factory.mktemp("empty"))
    workspace.create()
    return workspace.root / "registry.db"


@pytest.fixture
def recorder(empty_registry: Path, tmp_path: Path) -> Iterator[Recorder]:
    shutil.copy(empty_registry, tmp_path)
    with Workspace(tmp_path).open() as registry:
        yield Recorder(registry)


@pytest.fixture(scope="session")
def worked_report(empty_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """Return the report of a run 'first' with the worked example under view `current`."""
    root = tmp_path_factory.mktemp("worked")
    shutil.copy(empty_registry, root)
    with Workspace(root).open() as registry:
        return gather(registry, Recorder(registry).run("first"))


Rendered = Callable[..., str]


@pytest.fixture
def rendered() -> Rendered:
    """Return a function that renders a print function's output on a console without colour."""

    def capture(print_function: Callable[..., None], *values: object, width: int = 100) -> str:
        import io

        from rich.console import Console

        console = Console(file=io.StringIO(), width=width, color_system=None)
        print_function(*values, console)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        return str(text)

    return capture


@pytest.fixture(scope="session")
def many_task_report(
    empty_registry: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], RunReport]:
    """Return a function that makes the report of a run over n tasks, with all scores under view `current`."""

    @cache
    def report(n: int) -> RunReport:
        root = tmp_path_factory.mktemp("wide")
        shutil.copy(empty_registry, root)
        tasks = [f"task-{j}" for j in range(n)]
        rows = [[((7 * i + 3 * j) % (N + 1)) / N for j in range(n)] for i in range(n)]
        with Workspace(root).open() as registry:
            return gather(
                registry, Recorder(registry).run(f"of-{n}", tasks, rows, rows[0], views=["current"])
            )

    return report
