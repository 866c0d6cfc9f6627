import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from lori_cl.cli.main import entry
from lori_cl.registry import Workspace


class CommandResult(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def lori_cl(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., CommandResult]:
    """Return a function that calls the command in this process; `workspace` exists."""

    def call(*arguments: object) -> CommandResult:
        command = ["lori-cl", "--workspace", str(workspace.root), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            entry()
        out, err = capfd.readouterr()
        return CommandResult(int(ended.value.code or 0), out, err)

    return call


@pytest.fixture
def fresh_process() -> Callable[..., str]:
    """Return a function that runs Python code in a new process and returns its output."""

    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout

    return run
