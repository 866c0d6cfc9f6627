"""Every invalid input ends in a one-line error with exit code 2 and leaves the registry unchanged."""

import json
import re
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from lori_cl.registry import ArtifactStore, Workspace
from lori_cl.training.loggers import LOGGER_PACKAGES

Call = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]


@pytest.fixture
def error_of(lori_cl: Call, workspace: Workspace) -> Callable[..., str]:
    """Return a function that calls the command with an invalid input and returns the one-line error."""

    def call(*arguments: object) -> str:
        before = (workspace.root / "registry.db").read_bytes()
        code, out, err = lori_cl(*arguments)
        assert code == 2, (out, err)
        assert out == ""
        assert len(err.strip().splitlines()) == 1, err
        assert (workspace.root / "registry.db").read_bytes() == before
        return err.strip()

    return call


def change(file: Path, **fields: object) -> Path:
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **fields}, sort_keys=False))
    return file


def test_misspelt_field_of_a_task(error_of: Callable[..., str], write_task: Write) -> None:
    file = change(write_task("a"), metrc="accuracy")
    line = file.read_text().splitlines().index("metrc: accuracy") + 1
    assert error_of("add-task", file) == (
        f"SpecError: {file}, line {line}: 'metrc' is not a field of a task. Did you mean 'metric'?"
    )


def test_missing_task_file(error_of: Callable[..., str], tmp_path: Path) -> None:
    assert f"{tmp_path / 'none.yaml'}: no such file" in error_of("add-task", tmp_path / "none.yaml")


def test_one_invalid_task_file_prevents_all_additions(
    error_of: Callable[..., str], write_task: Write
) -> None:
    invalid = change(write_task("b"), kind="clasification")
    assert "Did you mean 'classification'?" in error_of("add-task", write_task("a"), invalid)


def test_unknown_task_in_a_curriculum(
    error_of: Callable[..., str], lori_cl: Call, write_task: Write, write_curriculum: Write
) -> None:
    lori_cl("add-task", write_task("gsm8k"))
    file = write_curriculum("gsm8K")
    line = file.read_text().splitlines().index("- gsm8K") + 1
    message = error_of("run", file)
    assert f"{file}, line {line}: unknown tasks[0] 'gsm8K'. Did you mean 'gsm8k'?" in message


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.limt=200", "--set train.limt=200: 'limt' is not a field of 'train'. Did you mean 'limit'?"),
        ("train.epochs=many", "--set train.epochs=many: 'train.epochs' should be a valid number"),
        ("masks.strategy=magnitud", "Did you mean 'magnitude'?"),
        ("method=lorri", "Did you mean 'lori'?"),
        ("train.epochs", "write key=value"),
        ("adapter.targets=[embeddings]", "adapter.targets: 'embeddings' is a BertEmbeddings"),
        ("adapter.targets=[quary]", "Did you mean 'query'?"),
        ("model.path=./nowhere", "model.path './nowhere' is not a folder"),
        ("model.path=package:nobody_has_this/model", "the package nobody_has_this is not installed"),
        ("masks.density=0.7", "task 'b' needs 314 cells; 134 of 448 are free"),
        ("tasks=[a, a]", "'tasks' lists 'a' twice"),
        ("train.scheduler=cosin", "cosin"),
        ("train.scheduler=warmup_stable_decay", "train: "),
        ("train.optimizer=galore_adamw", "galore"),
        ("train.loggers=[comet_ml]", "comet"),
        ("eval.views=[current, current]", "'eval.views' lists 'current' twice"),
        ("model.path=package:no.such/x", "the package no.such is not installed"),
        ("model.path=package:lori_cl/../tests", "the package lori_cl has no folder '../tests'"),
        ("model.path=~nobody_of_this_name/x", "is not a folder"),
    ],
)
def test_invalid_setting(
    error_of: Callable[..., str],
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    setting: str,
    message: str,
) -> None:
    lori_cl("add-task", write_task("a"), write_task("b"))
    assert message in error_of("run", write_curriculum("a", "b"), "--set", setting)


@pytest.mark.parametrize("logger", ["tensorboard", "wandb", "mlflow"])
def test_missing_package_of_a_logger_is_an_error_that_names_the_extra(
    error_of: Callable[..., str],
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    monkeypatch: pytest.MonkeyPatch,
    logger: str,
) -> None:
    monkeypatch.setattr(
        "lori_cl.training.loggers.find_spec",
        lambda name: None if name.startswith(logger) else find_spec(name),
    )
    lori_cl("add-task", write_task("a"))
    for options in ((), ("--dry-run",)):
        error = error_of("run", write_curriculum("a"), "--set", f"train.loggers=[{logger}]", *options)
        assert error == (
            f"InputError: train.loggers: '{logger}' needs the package {logger}, which is not installed; "
            f"install it: pip install 'lori-cl[{logger}]'"
        )


def test_every_logger_with_a_hint_has_an_extra_of_its_name() -> None:
    declared = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(LOGGER_PACKAGES) <= set(declared)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("method=lorri", "Did you mean 'lori'?"),
        ("method=../x", "Available: "),
        ("tasks=[../../a]", "unknown tasks[0]"),
    ],
)
def test_import_with_unknown_names_in_the_curriculum(
    error_of: Callable[..., str],
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    tmp_path: Path,
    setting: str,
    message: str,
) -> None:
    lori_cl("add-task", write_task("a"))
    assert message in error_of("import", tmp_path, write_curriculum("a"), "--set", setting)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "-x", "a\nb", "x" * 200])
def test_run_name_that_is_no_valid_file_name(
    error_of: Callable[..., str], lori_cl: Call, write_task: Write, write_curriculum: Write, name: str
) -> None:
    lori_cl("add-task", write_task("a"))
    assert "invalid run name" in error_of("run", write_curriculum("a"), f"--name={name}")


def test_max_new_tokens_as_large_as_the_context_of_the_model(
    error_of: Callable[..., str],
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    tiny_causal_lm: Path,
) -> None:
    file = write_task("a", kind="generation", prompt="{{ text }}", answer="{{ label }}", max_new_tokens=32)
    file.write_text("".join(line for line in file.open() if not line.startswith(("labels:", "- "))))
    lori_cl("add-task", file)
    curriculum = write_curriculum("a", model={"path": str(tiny_causal_lm)})
    assert "max_new_tokens is 32, but the model reads 32 tokens" in error_of("run", curriculum)


def test_file_name_that_is_too_long(error_of: Callable[..., str]) -> None:
    assert "cannot be read: File name too long" in error_of("add-task", "x" * 300)


def test_unexpected_exception_is_a_one_line_error(
    lori_cl: Call, write_task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lori_cl.task_data.registration.load_task", lambda _: 1 / 0)
    code, _, err = lori_cl("add-task", write_task("a"))
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("ZeroDivisionError: division by zero. This is unexpected; lori-cl --verbose")


def test_base_model_without_safetensors(
    error_of: Callable[..., str],
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    tiny_encoder: Path,
    tmp_path: Path,
) -> None:
    lori_cl("add-task", write_task("a"))
    copy = tmp_path / "pickled"
    copy.mkdir()
    for file in tiny_encoder.iterdir():
        target = "pytorch_model.bin" if file.suffix == ".safetensors" else file.name
        (copy / target).write_bytes(file.read_bytes())
    message = error_of("run", write_curriculum("a"), "--set", f"model.path={copy}")
    assert "model.safetensors" in message


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"text": "it is", "label": "rad"},
            "test.jsonl, line 9: label 'rad' is not in the label set",
        ),
        ({"text": None, "label": "red"}, "test.jsonl, line 9: column 'text' contains no text"),
    ],
)
def test_invalid_row(
    error_of: Callable[..., str], write_task: Write, row: dict[str, object], message: str
) -> None:
    file = write_task("a")
    data = file.parent / "a" / "test.jsonl"
    data.write_text(data.read_text() + json.dumps(row) + "\n")
    assert message in error_of("add-task", file)


def test_empty_data_set(error_of: Callable[..., str], write_task: Write) -> None:
    file = write_task("a")
    (file.parent / "a" / "test.jsonl").write_text("")
    assert "test.jsonl: the file is empty" in error_of("add-task", file)


@pytest.mark.parametrize("command", ["report", "capacity", "runs"])
def test_unknown_run(error_of: Callable[..., str], command: str) -> None:
    assert error_of(command, "nobody") == "UnknownRun: no run is named 'nobody'. See: lori-cl runs"


def test_unknown_registered_task(error_of: Callable[..., str], lori_cl: Call, write_task: Write) -> None:
    lori_cl("add-task", write_task("sst2"))
    assert (
        error_of("tasks", "sst")
        == "UnknownTask: no task is named 'sst'. Did you mean 'sst2'? See: lori-cl tasks"
    )


def test_folder_that_is_not_a_workspace(lori_cl: Call, tmp_path: Path) -> None:
    code, _, err = lori_cl("--workspace", tmp_path / "empty", "tasks")
    assert code == 2
    assert err.strip().endswith("create one: lori-cl init")
    assert not (tmp_path / "empty").exists()


def test_full_disk(error_of: Callable[..., str], write_task: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lori_cl.registry.artifacts.os.fsync", full)
    message = error_of("add-task", write_task("a"))
    assert "bytes) cannot be written to" in message
    assert message.endswith("No space left on device")


def test_report_with_an_unknown_file_extension(lori_cl: Call) -> None:
    code, _, err = lori_cl("report", "first", "-o", "report.pdf")
    assert code == 2
    assert "ends in none of html, md, csv, json, png, svg" in err


def test_unknown_command(lori_cl: Call) -> None:
    code, _, err = lori_cl("reprot")
    assert code == 2
    assert "reprot" in err
    assert "report" in err


def test_interrupt_says_how_to_resume(
    lori_cl: Call, write_task: Write, write_curriculum: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    lori_cl("add-task", write_task("a"))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lori_cl.training.stage_training.run_job", interrupt)
    code, _, err = lori_cl("run", write_curriculum("a"))
    assert code == 1
    message = "Interrupted. Committed data is kept; repeat the command to resume."
    adapted, left_out, *rest = err.splitlines()
    assert (adapted.partition(":")[0], left_out.partition(":")[0]) == ("adapter", "not adapted")
    assert rest == ["", message]


def test_no_command_writes_a_run_locked_by_another_process(
    error_of: Callable[..., str],
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    workspace: Workspace,
    tmp_path: Path,
) -> None:
    lori_cl("add-task", write_task("a"), write_task("b"))
    lori_cl("run", write_curriculum("a"), "--name", "r")
    lori_cl("export", "r", "--task", "a", "--out", tmp_path / "lora")
    curriculum = write_curriculum("a", "b")
    with workspace.lock("r"), workspace.lock("imported"):
        for command in (
            ["run", curriculum, "--name", "r"],
            ["route", "r"],
            ["retire-task", "r", "a"],
            ["import", tmp_path / "lora", curriculum, "--name", "imported"],
        ):
            assert re.fullmatch(
                r"RunConflict: run '\w+' is locked by process \d+ on \S+ since [-\d]+ [:\d]+ UTC; "
                "wait until it ends or stop it, then repeat the command",
                error_of(*command),
            )


def test_damaged_artifact_has_exit_code_1(
    lori_cl: Call, write_task: Write, write_curriculum: Write, workspace: Workspace
) -> None:
    lori_cl("add-task", write_task("a"), write_task("b"))
    lori_cl("run", write_curriculum("a"), "--name", "r")
    with workspace.read() as registry:
        stage = registry.run("r").stages[0]
    store: ArtifactStore = workspace.artifacts
    path = store.path(stage.artifact, "safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    code, _, err = lori_cl("run", write_curriculum("a", "b"), "--name", "r")
    assert code == 1
    assert stage.artifact in err


def code_task(file: Path, **fields: object) -> Path:
    """Replace a task file by one that declares a code task."""
    declared = {
        "name": "a",
        "kind": "code",
        "source": {"local": "a"},
        "prompt": "{{ text }}",
        "answer": "1",
        "program": "{{ completion }}",
        **fields,
    }
    file.write_text(yaml.safe_dump(declared, sort_keys=False))
    return file


def test_model_generated_code_runs_only_if_allowed(
    error_of: Callable[..., str], lori_cl: Call, write_task: Write, write_curriculum: Write
) -> None:
    assert lori_cl("add-task", code_task(write_task("a"))).code == 0  # type: ignore[attr-defined]
    message = error_of("run", write_curriculum("a"))
    assert "task 'a' is scored by running model-written programs" in message
    assert "use --allow-code-execution to allow it" in message


def test_scorer_function_runs_only_if_the_tasks_are_trusted(
    error_of: Callable[..., str], lori_cl: Call, write_task: Write, write_curriculum: Write
) -> None:
    file = write_task("a", metric="mine.py:grade")
    (file.parent / "mine.py").write_text("def grade(answer, targets, row):\n    return 1\n")
    assert lori_cl("add-task", file).code == 0  # type: ignore[attr-defined]
    assert "if you trust the task, use --trust-tasks" in error_of("run", write_curriculum("a"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"program": "{{ completion }} = ="},
            "line 1: the program with the reference answer does not compile",
        ),
        ({"program": "print()"}, "the program contains 0 placeholders for the completion"),
        ({"pass_at": [1, 5]}, "pass_at contains 5, but samples is 1; raise samples"),
        ({"samples": 5}, "samples is 5, but at temperature 0 all samples are the same; raise temperature"),
        ({"prompt": "{{ txt }}"}, "'txt' is undefined. Columns: text, label"),
        ({"prompt": "{{ ''.__class__ }}"}, "accesses something outside the sandbox"),
        ({"kind": "safety"}, "'expect' is missing from a task"),
    ],
)
def test_invalid_code_task(
    error_of: Callable[..., str], write_task: Write, fields: dict[str, object], message: str
) -> None:
    assert message in error_of("add-task", code_task(write_task("a"), **fields))


def test_eval_examples_that_are_training_examples(error_of: Callable[..., str], write_task: Write) -> None:
    file = write_task("a")
    folder = file.parent / "a"
    (folder / "test.jsonl").write_bytes((folder / "train.jsonl").read_bytes())
    message = "task 'a': 16 of 16 eval examples are also training examples"
    assert message in error_of("add-task", file)
    assert message in error_of("add-task", "--dry-run", file)


def test_chat_task_without_a_chat_template(
    error_of: Callable[..., str],
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    tiny_causal_lm: Path,
) -> None:
    file = change(write_task("a"), prompt="{{ text }}", chat=True)
    assert lori_cl("add-task", file).code == 0  # type: ignore[attr-defined]
    message = error_of("run", write_curriculum("a", model={"path": str(tiny_causal_lm)}))
    assert "task 'a' sets chat: true, but the model's tokenizer has no chat template" in message
