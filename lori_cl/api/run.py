"""A run of a workspace: what it learned, what it forgets, and what it can be used for."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lori_cl.errors import InputError
from lori_cl.registry import Run as RunRecord
from lori_cl.registry import ScoredStage, Stage

if TYPE_CHECKING:  # these import numpy or torch
    from lori_cl.api.interference import Interference
    from lori_cl.api.matrix import Matrix, Metrics
    from lori_cl.api.workspace import Workspace
    from lori_cl.reports import Capacity, Routing, RunReport
    from lori_cl.reports.lineage import Section
    from lori_cl.runtime import Progress
    from lori_cl.serving.export import ExportResult
    from lori_cl.serving.export_all import ExportAllResult
    from lori_cl.serving.predict import Prediction
    from lori_cl.serving.push import PushResult
    from lori_cl.serving.requests import Request
    from lori_cl.serving.retire import RetireResult
    from lori_cl.serving.verify import CheckResult


class Run:
    """One run: `workspace.run(...)` trains one, `workspace.get_run(name)` opens one.

    Everything is read from the registry at each access, so that the object never shows an old state.

    Example:
        >>> import lori_cl as cl
        >>> run = cl.Workspace(".").get_run("real-text-lori")  # the registry that comes with the sources
        >>> run.status, run.tasks[0], round(run.metrics("as_trained").acc, 3)
        ('done', 'sst2', 0.69)
    """

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.workspace = workspace
        self.name = name

    def __repr__(self) -> str:
        record = self.record
        return f"Run({self.name!r}, {len(record.stages)} of {len(record.tasks)} stages)"

    @property
    def record(self) -> RunRecord:
        """All that the registry knows about the run."""
        with self.workspace.storage.read() as registry:
            return registry.run(self.name)

    @property
    def status(self) -> str:
        """`done` where every planned task is trained."""
        return self.record.status

    @property
    def tasks(self) -> tuple[str, ...]:
        """Labels of the planned tasks, in order."""
        return tuple(task.label for task in self.record.tasks)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The committed stages, in order."""
        return self.record.stages

    @property
    def held_back(self) -> ScoredStage | None:
        """The stage that the gate holds back; None if there is none.

        Raises: ArtifactDamaged: its file cannot be read.
        """
        return self.workspace.storage.held_back_stage(self.record)

    def to_record(self) -> dict[str, Any]:
        """The stages, settings and lineage as JSON values."""
        from lori_cl.reports import run_record

        record = self.record
        return run_record(record, self.workspace.storage.held_back_stage(record))

    def lineage(self) -> list[Section]:
        """The data, seeds, digests and package versions of the run and of each stage."""
        from lori_cl.reports.lineage import lineage_sections

        return lineage_sections(self.record)

    def gather(self) -> RunReport:
        """Everything that a report says, as frozen values."""
        from lori_cl.reports import gather

        with self.workspace.storage.read() as registry:
            return gather(registry, self.name, self.workspace.storage.artifacts)

    def matrix(self, view: str = "as_trained") -> Matrix:
        """The forgetting matrix under a view.

        Raises: InputError: the run was not evaluated under it.
        """
        from lori_cl.api.matrix import Matrix

        return Matrix(self._view(view).matrix)

    def metrics(self, view: str = "as_trained") -> Metrics:
        """The metrics under a view: `acc`, `bwt`, `forgetting` and others, docs/metrics.md.

        Raises: InputError: the run was not evaluated under it.
        """
        from lori_cl.api.matrix import Metrics

        return Metrics(self._view(view).metrics)

    def _view(self, name: str) -> Any:
        views = {view.name: view for view in self.gather().views}
        if name not in views:
            raise InputError(
                f"run '{self.name}' was not evaluated under view '{name}' (available: {', '.join(views)})"
            )
        return views[name]

    def report(self, path: str | Path | None = None, format: str | None = None) -> bytes:
        """The report as a file's content; it is written to `path` where one is given.

        Args:
            path: Its suffix gives the format: .html, .md, .csv, .json, .png, .svg.
            format: The format's name; by default that of the suffix, or html.

        Raises: InputError: there is no such format. WorkspaceUnusable: the file cannot be written.
        """
        from lori_cl.api.reporting import write_report

        return write_report([self.gather()], path, format)

    def extend(self, *tasks: str, **options: Any) -> Run:
        """Train these tasks after the planned ones; `options` are those of `Workspace.run`.

        Raises: See `Workspace.run`.
        """
        from lori_cl.spec import CurriculumSpec

        record = self.record
        planned = [*record.curriculum["tasks"], *tasks]
        curriculum = CurriculumSpec.model_validate({**record.curriculum, "tasks": planned})
        return self.workspace.run(curriculum, self.name, **options)

    def predict(
        self,
        rows: Sequence[str | Mapping[str, Any]],
        task: str | None = None,
        *,
        route: bool = False,
        batch_size: int = 64,
    ) -> list[Prediction]:
        """Answer texts, or rows of columns.

        Args:
            rows: Texts, for tasks that read one column; or dicts of columns, which may name their `task`.
            task: The task whose adapter answers.
            route: Predict each row's task from its text; `route()` must have been called once.
            batch_size: Rows a forward pass.

        Raises: DataError: a row lacks what its task reads. UnknownTask. InputError.
        """
        from lori_cl.serving.predict import Predictor

        plain = all(isinstance(row, str) for row in rows)
        lines = [row if isinstance(row, str) else json.dumps(dict(row)) for row in rows]
        loaded, requests = self._requests(lines, task, route=route, plain=plain)
        predictor = Predictor(loaded)
        starts = range(0, len(requests), batch_size)
        return [
            answer for start in starts for answer in predictor.answer(requests[start : start + batch_size])
        ]

    def predict_lines(
        self,
        lines: Sequence[str],
        task: str | None = None,
        *,
        route: bool = False,
        plain: bool = False,
        batch_size: int = 64,
    ) -> Iterator[dict[str, Any]]:
        """Answer the lines of a file, one batch at a time: one record of JSON values a line.

        Args:
            lines: JSON objects of columns, or plain texts; empty lines are skipped.
            task, route, batch_size: As for `predict`.
            plain: Read every line as a plain text, also one that begins with `{`, `[` or `"`.

        Raises: See `predict`; the message names the line.
        """
        from lori_cl.serving.predict import Predictor, predict_rows

        loaded, requests = self._requests(lines, task, route=route, plain=plain)
        yield from predict_rows(Predictor(loaded), requests, batch_size)

    def _requests(
        self, lines: Sequence[str], task: str | None, *, route: bool, plain: bool
    ) -> tuple[Any, list[Request]]:
        """The loaded run, and each line with the task that answers it."""
        from lori_cl.serving.requests import read_routed_rows, read_rows
        from lori_cl.serving.route import load_router

        if route and task is not None:
            raise InputError("give task or route=True, not both")
        loaded = self._load()
        if route:
            return loaded, read_routed_rows(loaded, load_router(loaded), lines, plain=plain)
        return loaded, read_rows(loaded, lines, task, plain=plain)

    def load(self, view: str = "current", task: str | None = None) -> tuple[Any, Any]:
        """(PeftModel, tokenizer), with the adapter of a view active.

        Args:
            view: `current`, or `as_trained`, which needs a task.
            task: The task.

        Raises: InputError: the view needs a task, or does not. ModelError. ArtifactMissing.
        """
        if (view, task is None) not in {("current", True), ("as_trained", False)}:
            raise InputError("load(view='current'), or load(view='as_trained', task=...)")
        loaded = self._load()
        loaded.method.activate(loaded.acting(task))
        return loaded.model, loaded.base.tokenizer

    def _load(self) -> Any:
        from lori_cl.evaluation import load_run

        with self.workspace.storage.read() as registry:
            return load_run(self.workspace.storage, registry, self.name)

    def export(
        self,
        task: str | None,
        folder: str | Path,
        *,
        verify: bool = True,
        merged: bool = False,
        gguf_lora: bool = False,
        gguf_converter: str | Path | None = None,
    ) -> ExportResult:
        """Write a task's adapter, or with None everything trained, as a PEFT folder.

        Args:
            verify: Load the folder, and compare the outputs with those of the run.
            merged: Write the base model's weights with the adapter merged in, and the tokenizer, for loading
                without PEFT.
            gguf_lora: Also write the adapter as a GGUF LoRA, with llama.cpp's `convert_lora_to_gguf.py`. If
                that is not found, the result has the commands that do so.
            gguf_converter: The converter's file; by default that of the environment variable
                `LORI_CL_GGUF_CONVERTER`, or that on PATH.

        Raises: UnknownTask. InputError: the folder is not empty, or there is no such converter.
        ExportDiffers. LoriError: the converter fails.
        """
        from lori_cl.serving.export import add_gguf, export

        converter = self._converter(gguf_lora, gguf_converter, merged=merged)
        loaded = self._load()
        done = export(loaded, task, Path(folder), verify=verify, merged=merged)
        return add_gguf(loaded, done, converter) if gguf_lora else done

    def _converter(self, wanted: bool, given: str | Path | None, *, merged: bool = False) -> Path | None:
        """The converter to GGUF; None if there is none, or none is needed.

        Raises: InputError: it is not a file, or the arguments contradict each other.
        """
        from lori_cl.serving.gguf_lora import find_converter

        if given is not None and not wanted:
            raise InputError("a converter to GGUF was given, but no GGUF LoRA requested; add --gguf-lora")
        if wanted and merged:
            raise InputError(
                "a GGUF LoRA is an adapter, and --merged writes full weights; give one of the two"
            )
        return find_converter(None if given is None else Path(given)) if wanted else None

    def export_all(
        self,
        folder: str | Path,
        *,
        verify: bool = True,
        gguf_lora: bool = False,
        gguf_converter: str | Path | None = None,
    ) -> ExportAllResult:
        """Write the adapter of every trained task as a PEFT folder, `folder/TASK`.

        The result has the command that serves them with vLLM.

        Args:
            verify, gguf_lora, gguf_converter: As for `export`.

        Raises: InputError: the folder is not empty, or an adapter is zero. ExportDiffers. See `export`.
        """
        from lori_cl.serving.export import add_gguf
        from lori_cl.serving.export_all import export_all

        converter, loaded = self._converter(gguf_lora, gguf_converter), self._load()
        done = export_all(loaded, Path(folder), verify=verify)
        if not gguf_lora:
            return done
        return replace(done, exports=[add_gguf(loaded, each, converter) for each in done.exports])

    def push(
        self,
        task: str,
        repo: str,
        *,
        private: bool = False,
        revision: str | None = None,
        dry_run: bool = False,
        verify: bool = True,
    ) -> PushResult:
        """Upload a task's adapter to the Hugging Face hub: the folder of `export`, in one commit.

        The token is that of `HF_TOKEN` or of `hf auth login`.

        Args:
            repo: The repository, such as `user/my-lora`. It is created if needed.
            private: Create a private repository, and refuse an existing public one.
            revision: The branch. It is created if needed.
            dry_run: Export, but upload nothing.
            verify: As for `export`.

        Raises: InputError: there is no token, it is refused, or `HF_HUB_OFFLINE` is set. LoriError: the hub
        cannot be reached. See `export`.
        """
        from lori_cl.serving.push import check_push, push

        check_push(repo, dry_run=dry_run)
        return push(
            self._load(), task, repo, private=private, revision=revision, dry_run=dry_run, verify=verify
        )

    def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        api_key: str | None = None,
        max_tokens: int = 1024,
        max_requests: int = 64,
        batch_size: int = 8,
        on_start: Callable[[str, list[str]], None] | None = None,
    ) -> None:
        """Serve the run over HTTP, as an OpenAI-compatible API, until SIGINT or SIGTERM.

        Each task is a model. Requests that run or wait when the signal comes are answered first.

        Args:
            port: 0 chooses a free port.
            api_key: The key that requests must send; None accepts all requests.
            max_tokens: Maximum number of tokens of an answer.
            max_requests: Maximum number of prompts that wait; further ones get HTTP 429.
            batch_size: Maximum number of prompts that are answered together.
            on_start: Called with the base URL and the names of the models when requests are accepted.

        Raises: InputError: the extra `serve` is missing, or the address cannot be used.
        """
        from lori_cl.serving.openai_server import require_packages

        require_packages()
        from lori_cl.serving.openai_server.app import Limits
        from lori_cl.serving.openai_server.server import serve

        limits = Limits(max_tokens, max_requests, batch_size)
        serve(self._load(), host, port, limits, api_key, on_start or (lambda *_: None))

    def verify(
        self,
        *,
        remeasure: bool = False,
        tasks: Sequence[str] = (),
        stages: Collection[int] | None = None,
        receipt: str | Path | None = None,
        signed_by: str | Path | None = None,
        allow_code_execution: bool = False,
        trust_tasks: bool = False,
        progress: Progress | bool = False,
    ) -> list[CheckResult]:
        """Check the registry, the files and the scores against each other: what was checked, and found.

        Args:
            remeasure: Evaluate again, and compare every outcome.
            tasks, stages: What `remeasure` evaluates; everything by default.
            receipt: A receipt's file, or the head that a run printed.
            signed_by: An SSH public key that must have signed the receipt.

        Raises: VerificationError: at the first difference.
        """
        checks = self.checks(
            remeasure=remeasure,
            tasks=tasks,
            stages=stages,
            receipt=receipt,
            signed_by=signed_by,
            allow_code_execution=allow_code_execution,
            trust_tasks=trust_tasks,
            progress=progress,
        )
        return list(checks)

    def checks(
        self,
        *,
        remeasure: bool = False,
        tasks: Sequence[str] = (),
        stages: Collection[int] | None = None,
        receipt: str | Path | None = None,
        signed_by: str | Path | None = None,
        allow_code_execution: bool = False,
        trust_tasks: bool = False,
        progress: Progress | bool = False,
    ) -> Iterator[CheckResult]:
        """`verify`, one check at a time.

        Raises: See `verify`. InputError: an argument needs another one that is not given.
        """
        from lori_cl.api.progress import progress_of
        from lori_cl.serving.receipts import check_receipt
        from lori_cl.serving.remeasure import RemeasureOptions
        from lori_cl.serving.remeasure import remeasure as measure_again
        from lori_cl.serving.verify import verify

        if not remeasure and (tasks or stages is not None):
            raise InputError("tasks and stages say what to remeasure; add remeasure=True")
        if signed_by is not None and receipt is None:
            raise InputError("signed_by requires a receipt; add receipt=FILE")
        storage, shown = self.workspace.storage, progress_of(progress)
        with storage.read() as registry:
            chosen = None if stages is None else frozenset(stages)
            options = RemeasureOptions(tuple(tasks), allow_code_execution, trust_tasks, chosen)
            again = measure_again(storage, registry, self.name, options, shown) if remeasure else ()
            yield from verify(storage, registry, self.name, shown)
            if receipt is not None:
                yield check_receipt(
                    registry, self.name, str(receipt), None if signed_by is None else Path(signed_by)
                )
            yield from again

    def receipt(self, path: str | Path | None = None) -> bytes:
        """The digests of all stages and scores as JSON, to be kept outside the workspace.

        Args:
            path: Also write the receipt to this file.

        Raises: WorkspaceUnusable: the file cannot be written.
        """
        from lori_cl.api.reporting import write_file
        from lori_cl.registry.receipt import Receipt

        with self.workspace.storage.read() as registry:
            content = Receipt.of(registry.run(self.name), registry.score_log(self.name)).to_bytes()
        if path is not None:
            write_file(path, content)
        return content

    def sign_receipt(self, path: str | Path, key: str | Path) -> Path:
        """Sign a receipt's file with an SSH key: the path of the signature, which is `path` with `.sig`.

        ssh-keygen asks for the key's passphrase. An earlier signature is replaced.

        Raises: InputError: the key cannot be used; the message is that of ssh-keygen.
        """
        from lori_cl.registry.ssh_signature import sign

        return sign(Path(path), Path(key))

    def capacity(self) -> Capacity | None:
        """The adapter's cells by site and task, and how many more tasks fit; None without masks."""
        from lori_cl.reports import capacity_of

        return capacity_of(self.record)

    def interference(self, examples: int = 256) -> Interference:
        """What each task's update does to the inputs of each earlier task.

        Args:
            examples: Number of eval inputs per task.

        Raises: ModelError: the base model cannot be loaded. ArtifactMissing.
        """
        from lori_cl.api.interference import Interference
        from lori_cl.serving.interference import interference

        loaded = self._load()
        with self.workspace.storage.read() as registry:
            return Interference(tuple(interference(loaded, registry.evaluations(self.name), examples)))

    def route(
        self,
        *,
        measure_all: bool = False,
        allow_code_execution: bool = False,
        trust_tasks: bool = False,
        progress: Progress | bool = True,
    ) -> Routing:
        """Evaluate the run without a task id: a router predicts each text's task, and that task answers.

        Raises: InputError: no task is trained. RunConflict: another process runs the run.
        """
        from lori_cl.api.progress import progress_of
        from lori_cl.reports import gather_routing
        from lori_cl.serving.route import RouteOptions, route_run

        storage = self.workspace.storage
        route_run(
            storage,
            self.name,
            RouteOptions(measure_all, allow_code_execution, trust_tasks),
            progress_of(progress),
        )
        with storage.read() as registry:
            return gather_routing(registry, storage.artifacts, self.name)

    def retire_task(self, task: str, *, force: bool = False) -> RetireResult:
        """Free the cells of a trained task for later tasks; scores so far stay what they are.

        Args:
            force: Also where later tasks were trained on top of its cells.

        Raises: UnknownTask. InputError: it has no cells to free, or later tasks depend on them.
        """
        from lori_cl.serving.retire import retire_task

        return retire_task(self.workspace.storage, self.name, task, force=force)

    def _repr_html_(self) -> str:
        from html import escape

        from lori_cl.api.matrix import Matrix

        views = [Matrix(view.matrix)._repr_html_() for view in self.gather().views]
        return f"<h4>{escape(repr(self))}</h4>{''.join(views)}"
