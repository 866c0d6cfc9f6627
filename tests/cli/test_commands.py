"""The commands of the CLI."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.cli.main import COMMANDS
from lori_cl.cli.report import FORMAT_NAMES
from lori_cl.registry import Workspace
from tests.nightly import only_in_ci

Call = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]

HEAVY = ("torch", "transformers", "peft", "datasets", "matplotlib", "alembic", "sklearn")


@pytest.fixture
def trained(
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    train_once: Callable[[Callable[[], object]], None],
) -> Path:
    """Train a run 'first' over tasks a and b; return its curriculum file."""
    tasks, file = [write_task("a"), write_task("b")], write_curriculum("a", "b")

    def train() -> None:
        for command in (("add-task", *tasks), ("run", file, "--name", "first")):
            code, _, err = lori_cl(*command)
            assert code == 0, err

    train_once(train)
    return file


def test_report_contains_matrices_metrics_and_capacity_of_a_finished_run(
    lori_cl: Call, trained: Path
) -> None:
    code, out, _ = lori_cl("report", "first", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["schema"] == 2
    assert report["tasks"] == ["a", "b"]
    for view in ("as_trained", "current"):
        matrix = report["views"][view]["matrix"]
        assert [[cell is not None for cell in row] for row in matrix] == [
            [True, True],
            [True, False],
            [True, True],
        ]
    assert report["views"]["as_trained"]["metrics"]["forgetting"] == 0
    assert report["capacity"]["cells"] == 448
    assert report["capacity"]["free"] == 448 - 2 * 45


def test_default_run_name_is_curriculum_method_and_seed(
    lori_cl: Call, write_task: Write, write_curriculum: Write
) -> None:
    lori_cl("add-task", write_task("a"))
    lori_cl("run", write_curriculum("a"), "--set", "seed=3")
    _, out, _ = lori_cl("runs", "--json")
    assert [run["name"] for run in json.loads(out)] == ["tiny-lori-3"]


def test_set_option_overrides_a_config_value(
    lori_cl: Call, write_task: Write, write_curriculum: Write
) -> None:
    lori_cl("add-task", write_task("a"))
    code, _, _ = lori_cl("run", write_curriculum("a"), "--name", "r", "--set", "train.limit=4")
    _, out, _ = lori_cl("runs", "r", "--json")
    assert code == 0
    assert json.loads(out)["stages"][0]["n_train"] == 4


@pytest.mark.parametrize("format_name", FORMAT_NAMES)
def test_file_extension_selects_the_report_format(
    lori_cl: Call, trained: Path, tmp_path: Path, format_name: str
) -> None:
    target = tmp_path / f"report.{format_name}"
    code, _, err = lori_cl("report", "first", "-o", target)
    assert code == 0
    assert f"{target.stat().st_size:,} bytes" in err


def test_capacity_shows_cells_per_task_and_remaining_tasks(lori_cl: Call, trained: Path) -> None:
    _, out, _ = lori_cl("capacity", "first", "--json")
    found = json.loads(out)
    assert (found["cells"], found["free"]) == (448, 358)
    assert found["by_task"] == {"a": 45, "b": 45}
    assert found["more_tasks"] == 358 // 45
    _, text, _ = lori_cl("capacity", "first")
    assert "358" in text


@pytest.mark.parametrize("command", ["tasks", "runs"])
def test_list_commands_print_a_table_or_json(lori_cl: Call, trained: Path, command: str) -> None:
    _, out, _ = lori_cl(command, "--json")
    names = {item["name"] for item in json.loads(out)}
    _, table, _ = lori_cl(command)
    assert names
    assert all(name in table for name in names)


def test_adding_a_changed_task_reports_a_second_version(lori_cl: Call, write_task: Write) -> None:
    _, first, _ = lori_cl("add-task", write_task("a"))
    _, repeated, _ = lori_cl("add-task", write_task("a"))
    _, changed, _ = lori_cl("add-task", write_task("a", seed=7))
    assert "a: added" in first
    assert "already registered, unchanged" in repeated
    assert "changed since version 1: added as version 2" in changed


def test_run_without_a_terminal_logs_its_sites_and_two_lines_per_stage(
    lori_cl: Call, write_task: Write, write_curriculum: Write, caplog: pytest.LogCaptureFixture
) -> None:
    lori_cl("add-task", write_task("a"))
    _, _, err = lori_cl("run", write_curriculum("a"))
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("lori_cl")]
    receipt, line = messages
    assert receipt.startswith("receipt: run tiny-lori-0, stage 1, head ")
    assert line.startswith("stage 1/1 a: score ")
    assert [message.partition(":")[0] for message in err.splitlines()] == [
        "adapter",
        "not adapted",
    ]  # and no bars
    assert "claimed 10.0%, free 90.0%" in line


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(lori_cl: Call, command: str) -> None:
    code, out, _ = lori_cl(command, "--help")
    assert code == 0
    assert "Example:" in out
    assert f"lori-cl {command}" in out.replace(" --workspace ~/lori", "")


def test_help_names_every_built_in_report_format() -> None:
    from lori_cl.reports import FORMATS

    assert tuple(FORMATS.built_in) == FORMAT_NAMES


@pytest.mark.parametrize(
    "arguments",
    only_in_ci(
        [["--help"], ["report", "first"]],
        [["--help"], ["tasks"], ["runs"], ["report", "first"], ["capacity", "first"]],
    ),
    ids=lambda a: a[0],
)
def test_commands_without_a_model_import_no_heavy_library(
    lori_cl: Call,
    trained: Path,
    workspace: Workspace,
    fresh_process: Callable[[str], str],
    arguments: list[str],
) -> None:
    command = ["lori-cl", "--workspace", str(workspace.root), *arguments]
    code = f"""
import sys
sys.argv = {command!r}
from lori_cl.cli.main import entry
try:
    entry()
except SystemExit as ended:
    assert not ended.code, ended.code
print("LOADED", [name for name in {HEAVY!r} if name in sys.modules])
"""
    assert fresh_process(code).splitlines()[-1] == "LOADED []"


def test_reading_commands_do_not_change_the_registry(
    lori_cl: Call, trained: Path, workspace: Workspace
) -> None:
    before = (workspace.root / "registry.db").read_bytes()
    files = sorted(workspace.root.iterdir())
    reading = (["tasks"], ["runs"], ["runs", "first"], ["report", "first"], ["capacity", "first"], ["gc"])
    for arguments in reading:
        assert lori_cl(*arguments)[0] == 0
    assert (workspace.root / "registry.db").read_bytes() == before
    assert sorted(workspace.root.iterdir()) == files


def test_dry_run_shows_the_task_and_stores_nothing(
    lori_cl: Call, write_task: Write, tiny_encoder: Path
) -> None:
    code, out, _ = lori_cl("add-task", write_task("a"), "--dry-run", "--model", tiny_encoder)
    assert code == 0
    assert "a, train: 16 examples" in out
    assert "tokens: median 5, longest 5; 0 truncated to 128" in out
    assert lori_cl("tasks", "--json").out.strip() == "[]"


def test_inferred_labels_are_shown_and_recorded(lori_cl: Call, write_task: Write) -> None:
    file = write_task("a")
    file.write_text("".join(line for line in file.open() if not line.startswith(("labels:", "- "))))
    message = "2 labels inferred from column 'label': blue (12), red (12)"
    assert f"a: {message}\na, train: 16 examples" in lori_cl("add-task", file, "--dry-run").out
    assert f"(classification, 8 eval examples)\n  {message}\n" in lori_cl("add-task", file).out
    assert json.loads(lori_cl("tasks", "a", "--json").out)["spec"]["labels"] == ["blue", "red"]
    assert "already registered, unchanged" in lori_cl("add-task", file).out


def test_dry_run_and_run_list_adapted_and_not_adapted_modules(
    lori_cl: Call, write_task: Write, write_curriculum: Write, tiny_encoder: Path
) -> None:
    task = write_task("a")
    dry = lori_cl("add-task", task, "--dry-run", "--model", tiny_encoder)
    lori_cl("add-task", task)
    run = lori_cl("run", write_curriculum("a"), "--name", "listed")
    for output in (dry.out, run.err):
        assert "adapter: 6 sites (" in output
        assert "not adapted: embeddings (" in output
    assert "the model reads up to 32 tokens" in dry.out


def test_dry_run_explains_why_a_model_does_not_support_a_task(
    lori_cl: Call, write_task: Write, tiny_causal_lm: Path
) -> None:
    code, out, _ = lori_cl("add-task", write_task("a"), "--dry-run", "--model", tiny_causal_lm)
    assert code == 0
    assert "as encoder: model.path" in out
    assert "is a llama, which is not an encoder" in out


@pytest.mark.parametrize(("argument", "code"), [((), 2), (("--help",), 1)])
def test_broken_pipe_prints_no_traceback(argument: tuple[str, ...], code: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "lori_cl", *argument]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (code, b"")


def test_dry_run_of_a_run_shows_its_stages_and_stores_nothing(
    lori_cl: Call, workspace: Workspace, write_task: Write, write_curriculum: Write
) -> None:
    lori_cl("add-task", write_task("a"), write_task("b"))
    before = sorted(path for path in workspace.root.rglob("*"))
    command = ("run", write_curriculum("a", "b"), "--name", "first", "--dry-run")
    code, out, err = lori_cl(*command)
    assert (code, err) == (0, "")
    assert out.startswith("adapter: 6 sites")
    lines = [line.split() for line in out.splitlines()]
    assert ["1", "a", "16", "2", "45", "+", "34", "2", "1", "–"] in lines
    assert ["2", "b", "16", "2", "45", "+", "34", "4", "2", "–"] in lines
    assert "time: no estimate" in out
    assert out.endswith("nothing was trained or stored\n")
    record = json.loads(lori_cl(*command, "--json")[1])
    assert [stage["adapter_values"] for stage in record["stages"]] == [45, 45]
    assert sorted(path for path in workspace.root.rglob("*")) == before
    code, _, err = lori_cl(*command, "--accept", "a")
    assert (code, "--accept commits a stage" in err) == (2, True)


def test_export_writes_all_tasks_or_merged_weights(lori_cl: Call, trained: Path, tmp_path: Path) -> None:
    code, out, err = lori_cl("export", "first", "--all", "--out", tmp_path / "loras", "--no-verify")
    assert (code, err) == (0, "")
    assert f"Wrote {tmp_path / 'loras' / 'a'}: a LoRA of rank 4 for a." in out
    assert f"Wrote {tmp_path / 'loras' / 'b'}: a LoRA of rank 4 for b, trained on top of a." in out
    assert out.endswith(
        "Note: vLLM serves adapters of causal language models, and the base is of type encoder.\n"
    )
    code, out, err = lori_cl("export", "first", "--task", "a", "--merged", "--out", tmp_path / "model")
    assert (code, err) == (0, "")
    assert f"Wrote {tmp_path / 'model'}: the base model with the LoRA merged in for a." in out
    assert "Checked: the outputs of the folder and of the run differ by at most" in out
    for options in (
        (),
        ("--all", "--task", "a"),
        ("--all", "--merged"),
        ("--task", "a", "--view", "current"),
    ):
        code, _, err = lori_cl("export", "first", *options, "--out", tmp_path / "other")
        assert (code, len(err.splitlines())) == (2, 1)
        assert not (tmp_path / "other").exists()
