"""The example plugin is installed, listed, used and checked like a built-in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"

Python = Callable[[str], str]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Run code in a process in which the plugin is installed."""
    site, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source")
    subprocess.run(["cp", "-r", f"{PLUGIN}/.", str(source)], check=True)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)

    def run(code: str) -> str:
        path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


USED = """
import sys, tempfile
from pathlib import Path
import lori_cl as cl
from lori_cl.errors import SpecError
from lori_cl.testing import check_method, tiny_base_model
from lori_cl_l2.method import L2Settings

folder = Path(tempfile.mkdtemp())
check_method("l2-to-last-stage", folder / "contract", settings={"strength": 0.5})
base = tiny_base_model(folder / "base")
ws = cl.Workspace(folder / "work")
rows = [{"text": f"it is {i}", "label": ["red", "blue"][i % 2]} for i in range(16)]
ws.add_task(*(
    cl.Generation(name, train=rows[:8], eval=rows[8:], prompt="{{ text }} so", answer=" {{ label }}",
                  metric="first_letter", max_new_tokens=2)
    for name in ("one", "two")
))
def plan(strength):
    return cl.Curriculum(model=base, tasks=["one", "two"], method=L2Settings(rank=4, strength=strength),
                         train=cl.Train(epochs=4, batch_size=4, max_length=16, lr=0.01))
weak = ws.run(plan(0.0), name="weak", progress=False)
strong = ws.run(plan(1e4), name="strong", progress=False)
assert weak.record.curriculum["settings"] == {"strength": 0.0}
assert weak.stages[0].final_loss == strong.stages[0].final_loss
assert weak.stages[1].final_loss != strong.stages[1].final_loss
assert ws.task("one").metric == "first_letter"
assert weak.verify()
try:
    ws.run(cl.Curriculum(model=base, tasks=["one"], method="lori", settings={"strength": 1}), progress=False)
except SpecError as error:
    print(error)
"""


def test_plugin_method_and_scorer_work_like_built_in_ones(python: Python) -> None:
    assert "'strength' is not a field of a method" in python(USED)


def test_plugins_are_listed_with_their_package(python: Python) -> None:
    listed = python("from lori_cl.cli.main import main; main(['plugins'], standalone_mode=False)")
    assert "l2-to-last-stage" in listed
    assert "lori-cl-l2 0.1.0" in listed
    assert "first_letter" in listed
