import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from lori_cl.cli.main import entry
from lori_cl.registry import Workspace


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def lori_cl(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Call the command as a user would, in this process; `workspace` is made already."""

    def call(*arguments: object) -> Outcome:
        command = ["lori-cl", "--workspace", str(workspace.root), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            entry()
        out, err = capfd.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)

    return call


@pytest.fixture
def fresh_process() -> Callable[..., str]:
    """Run Python code in a process of its own; return what it prints."""

    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout

    return run
