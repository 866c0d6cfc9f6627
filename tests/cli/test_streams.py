"""Every command with a terminal without UTF-8, a full disk, a closed stream or a broken pipe."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pytest
import yaml

from lori_cl.cli.main import COMMANDS, OneLineEach, entry
from lori_cl.cli.output import print_json_line
from lori_cl.registry import Workspace
from lori_cl.reports import FORMATS, gather
from lori_cl.runtime import SilentProgress
from lori_cl.spec import load_curriculum
from lori_cl.strict_json import dump_json, parse_json
from lori_cl.task_data import register_tasks
from lori_cl.training import RunOptions, run_curriculum
from tests.nightly import only_in_ci
from tests.tiny import declare_task, tiny_curriculum

CONTROLS = "\x7f\x85\x9b2J\u202e\u2066\u200f\u2028\x1b[2J"
"""DEL, C1, bidi, line separator, and an escape sequence."""

COMMAND_LINES: dict[str, tuple[str, ...]] = {
    "demo": ("demo", "--help"),
    "init": ("init",),
    "registry": ("registry", "upgrade"),
    "add-task": ("add-task", "{root}/declared/a.yaml"),
    "tasks": ("tasks",),
    "run": ("run", "{root}/curriculum.yaml", "--name", "first"),
    "runs": ("runs",),
    "report": ("report", "first"),
    "verify": ("verify", "first"),
    "receipt": ("receipt", "first"),
    "capacity": ("capacity", "first"),
    "interference": ("interference", "first"),
    "route": ("route", "first"),
    "predict": ("predict", "first", "--task", "a", f"it is 日本 {CONTROLS}"),
    "export": ("export", "first", "--task", "a", "--out", "{root}/exported", "--no-verify"),
    "push": ("push", "first", "--task", "a", "--repo", "me/first", "--dry-run", "--no-verify"),
    "serve": ("serve", "--help"),
    "import": ("import", "--help"),
    "merge": ("merge", "first", "--tasks", "a,b", "--out", "{root}/merged"),
    "delete-run": ("delete-run", "first", "--yes"),
    "gc": ("gc",),
    "plugins": ("plugins",),
    "retire-task": ("retire-task", "first", "b"),
}
"""One call of each command that prints something and exits with 0."""


@pytest.fixture(scope="module")
def trained(tiny_encoder: Path, empty_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace with a finished run 'first' over tasks a and b."""
    root = tmp_path_factory.mktemp("streams") / "workspace"
    workspace = Workspace(Path(shutil.copytree(empty_workspace, root)))
    register_tasks(workspace, [declare_task(root / "declared", name) for name in ("a", "b")])
    file = root / "curriculum.yaml"
    file.write_text(yaml.safe_dump(tiny_curriculum(tiny_encoder, ("a", "b"))))
    run_curriculum(workspace, load_curriculum(file), "first", RunOptions(declared_in=root), SilentProgress())
    return root


class CommandOutput(NamedTuple):
    code: int
    out: bytes
    err: bytes


def call(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch, out: BinaryIO | None, encoding: str = "utf-8"
) -> CommandOutput:
    """Call a command in this process with `out` as its stdout; None means a closed stdout."""
    arguments = [part.format(root=root) if "{root}" in part else part for part in COMMAND_LINES[name]]
    err = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["lori-cl", "--workspace", str(root), *arguments])
        patch.setattr(sys, "stdout", out and io.TextIOWrapper(out, encoding))
        patch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding))
        with pytest.raises(SystemExit) as ended:
            entry()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        written = out.getvalue() if isinstance(out, io.BytesIO) else b""
        return CommandOutput(int(ended.value.code or 0), written, err.getvalue())


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "workspace"))


def test_every_command_has_a_command_line_here() -> None:
    assert set(COMMAND_LINES) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_command_prints_ascii_without_control_characters_on_an_ascii_terminal(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = call(root, name, monkeypatch, io.BytesIO(), "ascii")
    assert (code, b"unexpected" in err) == (0, False), err
    text = (out + err).decode("ascii")
    assert text
    assert not {c for c in text if not c.isprintable()} - {"\n"}


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_closed_stdout_discards_the_output_and_the_command_succeeds(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(root, name, monkeypatch, None)[0] == 0


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_full_disk_at_stdout_is_a_one_line_error_with_exit_code_1(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("wb") as full:
        code, _, err = call(root, name, monkeypatch, full)
    *_, last = err.decode().splitlines()
    assert code == 1
    assert last == "OutputError: cannot write to stdout: No space left on device; committed data is kept"
    assert b"Traceback" not in err


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_broken_pipe_ends_a_command_without_an_error_message(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        code, _, err = call(root, name, monkeypatch, pipe)
    assert code == 1
    assert b"Broken pipe" not in err
    warning = (
        b"Warning: task 'a': only 8 distinct eval examples: "
        b"a score of 50 % has a standard error of 18.9 points\n"
    )
    assert err.startswith(warning) == (name == "add-task")
    assert b"rror" not in err.removeprefix(warning)


def python(code: str, root: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """Call the command in a new process with the shell redirections in `code`."""
    command = f'"{sys.executable}" -m lori_cl --workspace "{root}" {" ".join(arguments)} {code}'
    options.setdefault("env", {**os.environ, "OMP_NUM_THREADS": "1"})  # two test processes share the cores
    return subprocess.run(["sh", "-c", command], capture_output=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.nightly
def test_run_with_closed_streams_commits_and_exits_with_0(trained: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "workspace"))
    done = python(
        "<&- >&- 2>&-", root, "run", str(root / "curriculum.yaml"), "--name", "second", "--set", "seed=3"
    )
    assert (done.returncode, done.stdout) == (0, b"")
    with Workspace(root).read() as registry:
        assert registry.run("second").status == "done"


def test_full_streams_cause_no_failure_at_interpreter_exit(trained: Path) -> None:
    for redirection, code in ((">/dev/full", 1), (">/dev/full 2>/dev/full", 1), ("2>/dev/full", 0)):
        assert python(redirection, trained, "runs").returncode == code


@pytest.mark.nightly
def test_help_reports_and_errors_work_in_a_locale_without_utf_8(trained: Path) -> None:
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for arguments, code in ((("merge", "--help"), 0), (("report", "first"), 0), (("report", "f−rst"), 2)):
        done = python("", trained, *arguments, env=env)
        assert done.returncode == code
        assert (done.stdout + done.stderr).isascii()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_json_is_valid_in_every_encoding(root: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setitem(COMMAND_LINES, "tasks", ("tasks", "--json"))
    file = declare_task(root / "declared", "b", description="日本 é − 🙂 \u202e")
    with Workspace(root).read() as registry:
        before = len(registry.tasks())
    register_tasks(Workspace(root), [file])
    _, out, _ = call(root, "tasks", monkeypatch, io.BytesIO(), encoding)
    listed = json.loads(out.decode(encoding))
    assert len(listed) == before + 1
    assert listed[-1]["spec"]["description"] == "日本 é − 🙂 \u202e"
    assert ("日本".encode() in out) == (encoding == "utf-8")


@pytest.mark.parametrize("name", ["html", "md", "csv", "json", "svg"])
@pytest.mark.parametrize("encoding", only_in_ci(["ascii"], ["ascii", "latin-1"]))
def test_report_on_stdout_has_the_terminal_encoding_and_o_writes_utf_8(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str, encoding: str
) -> None:
    monkeypatch.setitem(COMMAND_LINES, "report", ("report", "first", "--format", name))
    code, out, _ = call(root, "report", monkeypatch, io.BytesIO(), encoding)
    assert code == 0
    out.decode("ascii" if name in ("html", "svg") else encoding)
    file = root / f"report.{name}"
    monkeypatch.setitem(COMMAND_LINES, "report", ("report", "first", "-o", str(file)))
    assert call(root, "report", monkeypatch, io.BytesIO(), encoding)[0] == 0
    workspace = Workspace(root)
    with workspace.read() as registry:
        assert file.read_bytes() == FORMATS[name]([gather(registry, "first", workspace.artifacts)])


def test_printed_json_line_contains_no_control_characters(capfd: pytest.CaptureFixture[str]) -> None:
    print_json_line({"answer": CONTROLS})
    line = capfd.readouterr().out.removesuffix("\n")
    assert line.isprintable()
    assert json.loads(line) == {"answer": CONTROLS}


@pytest.mark.parametrize("value", [CONTROLS, "\ud800", "🙂\U000e0001", "é −", {"a\u202e": [1.5, None]}])
def test_json_escapes_control_characters_and_is_read_back_equal(value: object) -> None:
    text = dump_json(value)
    assert text.isprintable()
    assert parse_json(text) == value


def test_json_contains_no_non_finite_number() -> None:
    assert dump_json({"a": [float("nan"), float("inf"), 1.5]}) == '{"a": [null, null, 1.5]}'


def test_log_line_contains_no_control_characters() -> None:
    import logging

    record = logging.LogRecord("lori_cl", logging.INFO, "", 0, "stage %s", (CONTROLS,), None)
    assert OneLineEach("%(message)s").format(record).isprintable()


def test_commands_print_through_one_module() -> None:
    folder = Path(entry.__code__.co_filename).parent
    direct_output = re.compile(r"click\.echo\(|sys\.(stdout|stderr)|(?<![\w.])print\(")
    files = (file for file in folder.glob("*.py") if file.name not in ("main.py", "output.py", "streams.py"))
    assert [file.name for file in files if direct_output.search(file.read_text())] == ["signals.py"]
