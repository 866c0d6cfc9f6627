"""A workspace: registered tasks, runs, and the files that they need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from lori_cl.api.run import Run
from lori_cl.registry import Task
from lori_cl.registry import Workspace as Storage
from lori_cl.spec.in_memory import InMemoryTask

if TYPE_CHECKING:
    import pandas as pd

    from lori_cl.reports import RunReport
    from lori_cl.serving.merge import MergeOutcome
    from lori_cl.spec import CurriculumSpec
    from lori_cl.training import Gate, Progress
    from lori_cl.training.task_registration import RegisteredTask


class Workspace:
    """A folder with `registry.db`, `tasks/` and `artifacts/`; it is created where it does not exist.

    Args:
        root: The folder.
        registry: A SQLAlchemy URL of another database than `registry.db`, such as
            `postgresql+psycopg://user@host/name`.

    Raises: WorkspaceUnusable: the folder or the registry cannot be opened. RegistryTooNew.

    Example:
        >>> import lori_cl as cl, tempfile
        >>> ws = cl.Workspace(tempfile.mkdtemp())
        >>> rows = [{"text": f"sum {i}", "label": ["odd", "even"][i % 2]} for i in range(8)]
        >>> [task] = ws.add_task(cl.Classification("parity", train=rows[:4], eval=rows[4:]))
        >>> task.task.label, len(ws.runs())
        ('parity', 0)
    """

    def __init__(self, root: str | Path = ".", registry: str | None = None) -> None:
        self._storage = Storage(Path(root), registry)
        if registry is not None or not (Path(root) / "registry.db").exists():
            self._storage.create()

    @classmethod
    def of(cls, storage: Storage) -> Workspace:
        """The workspace over storage that is open already; nothing is created."""
        workspace = cls.__new__(cls)
        workspace._storage = storage
        return workspace

    @property
    def root(self) -> Path:
        """The folder."""
        return self._storage.root

    @property
    def storage(self) -> Storage:
        """The registry and the artifacts."""
        return self._storage

    def __repr__(self) -> str:
        return f"Workspace({str(self.root)!r})"

    def add_task(self, *tasks: str | Path | InMemoryTask) -> list[RegisteredTask]:
        """Register tasks, and freeze their eval sets: all of them, or none where one is invalid.

        Each task is a YAML file, or one with data in memory, such as `cl.Classification(...)`. A task of the
        same name with other content becomes a new version.

        Raises: SpecError: a declaration is invalid. DataError: the data is.
        """
        from lori_cl.training.task_registration import register_tasks  # imports torch

        return register_tasks(self._storage, [Path(t) if isinstance(t, str) else t for t in tasks])

    def tasks(self) -> list[Task]:
        """All registered tasks at their newest versions, in the order in which they were added."""
        with self._storage.read() as registry:
            return registry.tasks()

    def task(self, name: str) -> Task:
        """A task by name, or a version of it: `name@2`.

        Raises: UnknownTask.
        """
        with self._storage.read() as registry:
            return registry.task(name)

    def run(
        self,
        curriculum: CurriculumSpec,
        name: str | None = None,
        *,
        gate: Gate | None = None,
        callbacks: Sequence[Any] = (),
        progress: Progress | bool = True,
        **options: Any,
    ) -> Run:
        """Train and evaluate every stage of a curriculum that is not committed yet.

        The same call resumes an interrupted run. A curriculum with more tasks at its end extends the run.

        Args:
            curriculum: A `cl.Curriculum`.
            name: The run's name; by default CURRICULUM-METHOD-SEED.
            gate: Hold a stage back where it costs an earlier task too much: `cl.Gate(max_drop=1.0)`.
            callbacks: `transformers.TrainerCallback`s for the training of every stage.
            progress: Whether to draw progress bars, or an object that draws them.
            options: Other fields of `lori_cl.training.RunOptions`, such as `allow_code_execution`.

        Raises: InputError: the curriculum, a task or the data is invalid; nothing is stored then.
            RunConflict: the run has other settings, or another process runs it. RegressionFound: a stage is
            held back. TrainingDiverged.
        """
        from lori_cl.api.progress import progress_of
        from lori_cl.training import RunOptions, run_curriculum

        settings = RunOptions(gate=gate, callbacks=tuple(callbacks), **options)
        done = run_curriculum(
            self._storage, curriculum, curriculum.run_name(name), settings, progress_of(progress)
        )
        return Run(self, done.name)

    def import_adapter(
        self,
        folder: str | Path,
        curriculum: CurriculumSpec,
        name: str | None = None,
        *,
        mask: str | Path | None = None,
        progress: Progress | bool = True,
        **options: Any,
    ) -> Run:
        """Begin a run with a PEFT LoRA or a LoRI from `folder` as the adapter of the curriculum's first task.

        Args:
            mask: The adapter's own mask file, as LoRI publishes it.
            options: Other fields of `lori_cl.training.RunOptions`.

        Raises: InputError: the adapter does not fit the curriculum. RunConflict: the run exists.
        """
        from lori_cl.api.progress import progress_of
        from lori_cl.serving.adapter_import import import_folder
        from lori_cl.training import RunOptions

        done = import_folder(
            self._storage,
            Path(folder),
            curriculum,
            curriculum.run_name(name),
            None if mask is None else Path(mask),
            RunOptions(**options),
            progress_of(progress),
        )
        return Run(self, done.name)

    def runs(self) -> RunTable:
        """All runs, in the order in which they began."""
        with self._storage.read() as registry:
            return RunTable(self, [summary.name for summary in registry.run_summaries()])

    def get_run(self, name: str) -> Run:
        """A run by name.

        Raises: UnknownRun.
        """
        with self._storage.read() as registry:
            return Run(self, registry.run(name).name)

    def compare(self, *runs: str) -> list[RunReport]:
        """The reports of several runs, which every report format renders side by side."""
        return [self.get_run(name).gather() for name in dict.fromkeys(runs)]

    def merge(
        self,
        run: str,
        tasks: Sequence[str],
        out: str | Path,
        *,
        method: str = "cat",
        weights: Sequence[float] | None = None,
        evaluate: bool = False,
        allow_code_execution: bool = False,
        progress: Progress | bool = True,
        **settings: Any,
    ) -> MergeOutcome:
        """Merge tasks of one or several runs into one PEFT adapter in the folder `out`.

        Args:
            tasks: Tasks of `run`, or `OTHER_RUN:TASK`.
            method: A merge method: docs/export-import-merge.md.
            weights: One for each task; 1 each by default.
            evaluate: Evaluate the merged adapter on every task in it.
            settings: `on`, `density`, `rank` and `seed` of the method.

        Raises: InputError: the tasks or the settings do not fit together. WorkspaceUnusable.
        """
        from lori_cl.adapters import MergeSettings
        from lori_cl.api.progress import progress_of
        from lori_cl.serving.merge import merge_tasks
        from lori_cl.serving.merge_request import MergeRequest

        request = MergeRequest(
            run=run,
            tasks=list(tasks),
            method=method,
            out=Path(out),
            weights=None if weights is None else tuple(weights),
            settings=MergeSettings(**settings),
            evaluate=evaluate,
            allow_code_execution=allow_code_execution,
        )
        return merge_tasks(self._storage, request, progress_of(progress))


@dataclass(frozen=True)
class RunTable(Sequence[Run]):
    """Runs in the order in which they began; `table["name"]` is one of them."""

    workspace: Workspace
    names: Sequence[str]

    @overload
    def __getitem__(self, key: int | str) -> Run: ...
    @overload
    def __getitem__(self, key: slice) -> RunTable: ...

    def __getitem__(self, key: int | str | slice) -> Run | RunTable:
        if isinstance(key, str):
            return self.workspace.get_run(key)
        found = self.names[key]
        return Run(self.workspace, found) if isinstance(found, str) else RunTable(self.workspace, found)

    def __iter__(self) -> Iterator[Run]:
        return (Run(self.workspace, name) for name in self.names)

    def __len__(self) -> int:
        return len(self.names)

    def to_pandas(self) -> pd.DataFrame:
        """One row a run: method, seed, status, tasks, base model and begin."""
        import pandas as pd

        from lori_cl.reports import run_summary

        with self.workspace.storage.read() as registry:
            records: list[Mapping[str, Any]] = [run_summary(s) for s in registry.run_summaries()]
        kept = [record for record in records if record["name"] in set(self.names)]
        table = pd.DataFrame([{**r, "base": r["base"]["path"], "tasks": len(r["tasks"])} for r in kept])
        return table.set_index("name") if kept else table

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html())
