"""Every mistake ends in one clear line and exit code 2, and the registry stays as it was."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lori_cl.registry import ArtifactStore, Workspace

Call = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]


@pytest.fixture
def mistake(lori_cl: Call, workspace: Workspace) -> Callable[..., str]:
    """Call with a mistake; return the one line it ends in."""

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


def test_a_misspelt_field_of_a_task(mistake: Callable[..., str], write_task: Write) -> None:
    file = change(write_task("a"), metrc="accuracy")
    line = file.read_text().splitlines().index("metrc: accuracy") + 1
    assert mistake("add-task", file) == (
        f"SpecError: {file}, line {line}: 'metrc' is not a field of a task. Did you mean 'metric'?"
    )


def test_a_missing_task_file(mistake: Callable[..., str], tmp_path: Path) -> None:
    assert f"{tmp_path / 'none.yaml'}: no such file" in mistake("add-task", tmp_path / "none.yaml")


def test_one_wrong_file_among_good_ones_adds_none(mistake: Callable[..., str], write_task: Write) -> None:
    wrong = change(write_task("b"), kind="clasification")
    assert "Did you mean 'classification'?" in mistake("add-task", write_task("a"), wrong)


def test_an_unknown_task_in_a_curriculum(
    mistake: Callable[..., str], lori_cl: Call, write_task: Write, write_curriculum: Write
) -> None:
    lori_cl("add-task", write_task("gsm8k"))
    file = write_curriculum("gsm8K")
    line = file.read_text().splitlines().index("- gsm8K") + 1
    said = mistake("run", file)
    assert f"{file}, line {line}: 'tasks[0]' names 'gsm8K', which nobody knows. Did you mean 'gsm8k'?" in said


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train.limt=200", "--set train.limt=200: 'limt' is not a field of 'train'. Did you mean 'limit'?"),
        ("train.epochs=many", "--set train.epochs=many: 'train.epochs' should be a valid number"),
        ("masks.strategy=magnitud", "Did you mean 'magnitude'?"),
        ("method=lorri", "Did you mean 'lori'?"),
        ("train.epochs", "write key=value"),
        ("adapter.targets=[embeddings]", "adapter.targets: 'embeddings' is a BertEmbeddings"),
        ("adapter.targets=[quary]", "Did you mean 'query'?"),
        ("model.path=./nowhere", "model.path './nowhere' is no folder"),
        ("model.path=package:nobody_has_this/model", "the package nobody_has_this is not installed"),
        ("masks.density=0.7", "task 'b' asks for 314 cells; 134 of 448 are free"),
        ("tasks=[a, a]", "tasks name 'a' twice"),
        ("train.scheduler=cosin", "cosin"),
        ("train.scheduler=warmup_stable_decay", "train: "),
        ("train.optimizer=galore_adamw", "galore"),
        ("train.loggers=[comet_ml]", "comet"),
        ("eval.views=[current, current]", "'eval.views' names 'current' twice"),
        ("model.path=package:no.such/x", "the package no.such is not installed"),
        ("model.path=package:lori_cl/../tests", "the package lori_cl has no folder '../tests'"),
        ("model.path=~nobody_of_this_name/x", "is no folder"),
    ],
)
def test_a_wrong_setting(
    mistake: Callable[..., str],
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    setting: str,
    said: str,
) -> None:
    lori_cl("add-task", write_task("a"), write_task("b"))
    assert said in mistake("run", write_curriculum("a", "b"), "--set", setting)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("method=lorri", "Did you mean 'lori'?"),
        ("method=../x", "There are"),
        ("tasks=[../../a]", "nobody knows"),
    ],
)
def test_an_import_for_a_curriculum_that_names_nothing_known(
    mistake: Callable[..., str],
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    tmp_path: Path,
    setting: str,
    said: str,
) -> None:
    lori_cl("add-task", write_task("a"))
    assert said in mistake("import", tmp_path, write_curriculum("a"), "--set", setting)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "-x", "a\nb", "x" * 200])
def test_a_run_name_that_no_file_or_command_line_could_bear(
    mistake: Callable[..., str], lori_cl: Call, write_task: Write, write_curriculum: Write, name: str
) -> None:
    lori_cl("add-task", write_task("a"))
    assert "a run cannot be named" in mistake("run", write_curriculum("a"), f"--name={name}")


def test_an_answer_that_the_model_has_no_room_for(
    mistake: Callable[..., str],
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    tiny_causal_lm: Path,
) -> None:
    file = write_task("a", kind="generation", prompt="{{ text }}", answer="{{ label }}", max_new_tokens=32)
    file.write_text("".join(line for line in file.open() if not line.startswith(("labels:", "- "))))
    lori_cl("add-task", file)
    curriculum = write_curriculum("a", model={"path": str(tiny_causal_lm)})
    assert "max_new_tokens is 32 and the model reads 32 tokens" in mistake("run", curriculum)


def test_a_file_name_that_is_too_long(mistake: Callable[..., str]) -> None:
    assert "cannot be read: File name too long" in mistake("add-task", "x" * 300)


def test_what_was_not_foreseen_is_one_line_too(
    lori_cl: Call, write_task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lori_cl.training.enrolment.load_task", lambda _: 1 / 0)
    code, _, err = lori_cl("add-task", write_task("a"))
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("ZeroDivisionError: division by zero. This is unexpected; lori-cl --verbose")


def test_weights_that_are_no_safetensors(
    mistake: Callable[..., str],
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
    said = mistake("run", write_curriculum("a"), "--set", f"model.path={copy}")
    assert "model.safetensors" in said


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"text": "it is", "label": "rad"},
            "test.jsonl, line 9: label 'rad' is not in the label set",
        ),
        ({"text": None, "label": "red"}, "test.jsonl, line 9: column 'text' holds no text"),
    ],
)
def test_a_wrong_row(
    mistake: Callable[..., str], write_task: Write, row: dict[str, object], said: str
) -> None:
    file = write_task("a")
    data = file.parent / "a" / "test.jsonl"
    data.write_text(data.read_text() + json.dumps(row) + "\n")
    assert said in mistake("add-task", file)


def test_an_empty_data_set(mistake: Callable[..., str], write_task: Write) -> None:
    file = write_task("a")
    (file.parent / "a" / "test.jsonl").write_text("")
    assert "test.jsonl: the file is empty" in mistake("add-task", file)


@pytest.mark.parametrize("command", ["report", "capacity", "runs"])
def test_an_unknown_run(mistake: Callable[..., str], command: str) -> None:
    assert mistake(command, "nobody") == "UnknownRun: 'nobody'. See: lori-cl runs"


def test_an_unknown_registered_task(mistake: Callable[..., str], lori_cl: Call, write_task: Write) -> None:
    lori_cl("add-task", write_task("sst2"))
    assert mistake("tasks", "sst") == "UnknownTask: 'sst'. Did you mean 'sst2'? See: lori-cl tasks"


def test_a_folder_that_is_no_workspace(lori_cl: Call, tmp_path: Path) -> None:
    code, _, err = lori_cl("--workspace", tmp_path / "empty", "tasks")
    assert code == 2
    assert err.strip().endswith("make one: lori-cl init")
    assert not (tmp_path / "empty").exists()


def test_a_full_disk(mistake: Callable[..., str], write_task: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lori_cl.registry.artifacts.os.fsync", full)
    said = mistake("add-task", write_task("a"))
    assert "bytes) cannot be written to" in said
    assert said.endswith("No space left on device")


def test_a_report_with_an_unknown_ending(lori_cl: Call) -> None:
    code, _, err = lori_cl("report", "first", "-o", "report.pdf")
    assert code == 2
    assert "ends in none of html, md, csv, json, png, svg" in err


def test_an_unknown_command(lori_cl: Call) -> None:
    code, _, err = lori_cl("reprot")
    assert code == 2
    assert "reprot" in err
    assert "report" in err


def test_an_interrupt_says_how_to_go_on(
    lori_cl: Call, write_task: Write, write_curriculum: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    lori_cl("add-task", write_task("a"))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lori_cl.training.learning.teach", interrupt)
    code, _, err = lori_cl("run", write_curriculum("a"))
    assert code == 1
    said = "Interrupted. What was committed stays; the same command goes on from there."
    adapted, left_out, *rest = err.splitlines()
    assert (adapted.partition(":")[0], left_out.partition(":")[0]) == ("adapter", "not adapted")
    assert rest == ["", said]


def test_a_run_that_another_process_holds_is_written_by_no_command(
    mistake: Callable[..., str],
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
    with workspace.hold("r"), workspace.hold("brought"):
        for command in (
            ["run", curriculum, "--name", "r"],
            ["route", "r"],
            ["retire-task", "r", "a"],
            ["import", tmp_path / "lora", curriculum, "--name", "brought"],
        ):
            assert re.fullmatch(
                r"RunConflict: run '\w+' is held by process \d+ on \S+ since [-\d]+ [:\d]+ UTC; "
                "wait until that ends, or end it, and call it again",
                mistake(*command),
            )


def test_a_damaged_artifact_is_the_jobs_failure_not_the_users(
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
    """Make a code task of a task file."""
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


def test_code_that_a_model_writes_runs_only_where_it_is_allowed(
    mistake: Callable[..., str], lori_cl: Call, write_task: Write, write_curriculum: Write
) -> None:
    assert lori_cl("add-task", code_task(write_task("a"))).code == 0  # type: ignore[attr-defined]
    said = mistake("run", write_curriculum("a"))
    assert "task 'a' is scored by running the programs" in said
    assert "only with --allow-code-execution" in said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"program": "{{ completion }} = ="}, "line 1: the program with the row's answer does not compile"),
        ({"program": "print()"}, "the program holds 0 places for the completion"),
        ({"pass_at": [1, 5]}, "pass_at names 5 and samples is 1; draw at least as many"),
        ({"samples": 5}, "samples is 5, and at temperature 0 all are the same; raise temperature"),
        ({"prompt": "{{ txt }}"}, "'txt' is undefined. Columns: text, label"),
        ({"prompt": "{{ ''.__class__ }}"}, "reaches outside its sandbox"),
        ({"kind": "safety"}, "'expect' is missing from a task"),
    ],
)
def test_a_task_that_cannot_be_asked(
    mistake: Callable[..., str], write_task: Write, fields: dict[str, object], said: str
) -> None:
    assert said in mistake("add-task", code_task(write_task("a"), **fields))


def test_an_eval_example_that_is_learned_from(mistake: Callable[..., str], write_task: Write) -> None:
    file = write_task("a")
    folder = file.parent / "a"
    (folder / "test.jsonl").write_bytes((folder / "train.jsonl").read_bytes())
    said = "task 'a': 16 of 16 eval examples stand among the training examples, too"
    assert said in mistake("add-task", file)
    assert said in mistake("add-task", "--dry-run", file)


def test_a_chat_without_a_chat_template(
    mistake: Callable[..., str],
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    tiny_causal_lm: Path,
) -> None:
    file = change(write_task("a"), prompt="{{ text }}", chat=True)
    assert lori_cl("add-task", file).code == 0  # type: ignore[attr-defined]
    said = mistake("run", write_curriculum("a", model={"path": str(tiny_causal_lm)}))
    assert "task 'a' says chat: true, and the model's tokenizer has no chat template" in said
