"""The example plugin is installed, listed, used and checked like a built-in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from lori_cl.cli.merge import METHOD_NAMES
from lori_cl.cli.report import FORMAT_NAMES
from lori_cl.masks import Evidence
from lori_cl.plugins import GROUPS
from lori_cl.testing import WORDS, tiny_base_model
from tests.preloaded import PreloadedProcess

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"

Python = Callable[[str], str]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the plugin into a folder of its own, and return the folder."""
    site, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source")
    subprocess.run(["cp", "-r", f"{PLUGIN}/.", str(source)], check=True)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return site


def _environment(*folders: Path) -> dict[str, str]:
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


@pytest.fixture(scope="module")
def python(site: Path, preloaded: PreloadedProcess) -> Python:
    """Run code in a process in which the plugin is installed."""

    def run(code: str) -> str:
        done = preloaded.run("python-c", "-c", code, env=_environment(site))
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


@pytest.fixture(scope="module")
def trained(python: Python, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train `first` over two tasks of the plugin's kind with its mask strategy; return the workspace."""
    folder = tmp_path_factory.mktemp("workspace")
    tiny_base_model(folder / "base", (*WORDS, "yes", "no"))
    for name in ("one", "two"):
        (folder / name).mkdir()
        for split, start in (("train", 0), ("test", 100)):
            rows = [{"n": i, "even": ["yes", "no"][i % 2]} for i in range(start, start + 8)]
            (folder / name / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        task = {"name": name, "kind": "yes_no", "source": {"local": name}}
        task |= {"prompt": "it is {{ n }} so", "answer": "{{ even }}"}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))
    curriculum = {
        "name": "plugin",
        "model": {"path": str(folder / "base")},
        "tasks": ["one", "two"],
        "adapter": {"rank": 4, "alpha": 8},
        "masks": {"strategy": "sampled-gradient", "density": 0.2},
        "train": {"epochs": 2, "batch_size": 4, "max_length": 16, "lr": 0.01},
    }
    (folder / "curriculum.yaml").write_text(yaml.safe_dump(curriculum))
    python(
        _commands(
            folder,
            ["init"],
            ["add-task", folder / "one.yaml", folder / "two.yaml"],
            ["run", folder / "curriculum.yaml", "--name", "first"],
        )
    )
    return folder


def _commands(workspace: Path, *commands: Sequence[object]) -> str:
    """Return code that runs several commands in one process, which imports torch once."""
    lines = ["from lori_cl.cli.main import main"]
    for command in commands:
        arguments = ["--workspace", str(workspace), *map(str, command)]
        lines.append(f"main({arguments!r}, standalone_mode=False)")
    return "\n".join(lines)


@pytest.fixture
def installed_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the modules of the plugin importable in this process, without its entry points."""
    monkeypatch.syspath_prepend(str(PLUGIN))


def _fresh_python(site: Path, code: str) -> str:
    """Run code in a new interpreter in which the plugin is installed, and nothing is imported."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=_environment(site), capture_output=True, text=True, check=True).stdout


@pytest.fixture
def lori_cl(trained: Path, site: Path, preloaded: PreloadedProcess) -> Command:
    """Run a command in the workspace of the trained run, in a process in which the plugin is installed."""
    return lambda *arguments: preloaded.run(
        "lori-cl", "--workspace", trained, *arguments, env=_environment(site)
    )


USED = """
import sys, tempfile
from pathlib import Path
import lori_cl as cl
from lori_cl.errors import SpecError
from lori_cl.spec.in_memory import InMemoryTask
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

class YesNo(InMemoryTask):
    kind = "yes_no"

rows = [{"text": f"it is {i}", "even": i % 2 == 0} for i in range(16)]
[added] = ws.add_task(YesNo("even", train=rows[:8], eval=rows[8:], prompt="{{ text }}", answer="{{ even }}"))
assert added.task.kind == "yes_no"
try:
    ws.run(cl.Curriculum(model=base, tasks=["one"], method="lori", settings={"strength": 1}), progress=False)
except SpecError as error:
    print(error)
"""


def test_plugin_method_scorer_and_in_memory_task_work_like_built_in_ones(python: Python) -> None:
    assert "'strength' is not a field of a method" in python(USED)


@pytest.mark.nightly
def test_plugin_task_kind_is_trained_scored_verified_and_predicted(
    lori_cl: Command, python: Python, trained: Path
) -> None:
    tasks = json.loads(lori_cl("tasks", "--json").stdout)
    shown = [(task["kind"], task["metric"], task["eval_set"]["n"]) for task in tasks]
    assert shown == [("yes_no", "accuracy", 8)] * 2
    views = json.loads(lori_cl("report", "first", "--json").stdout)["views"]
    assert views["as_trained"]["n"] == [8, 8]
    predict = ["predict", "first", "--task", "one", "7"]
    *checks, line = python(_commands(trained, ["verify", "first", "--remeasure"], predict)).splitlines()
    assert any(check.startswith("remeasure: ") for check in checks)
    assert json.loads(line)["answer"] in ("yes", "no")


def test_plugin_mask_strategy_selects_the_cells_of_every_stage(lori_cl: Command) -> None:
    stages = json.loads(lori_cl("runs", "first", "--json").stdout)["stages"]
    assert [stage["mask"]["strategy"] for stage in stages] == ["sampled-gradient"] * 2
    assert stages[0]["mask"]["digest"] != stages[1]["mask"]["digest"]


def test_plugin_mask_strategy_draws_cells_with_gradients_from_the_seed(installed_modules: None) -> None:
    from lori_cl_l2.strategy import SAMPLED_GRADIENT

    def draw(seed: int) -> list[int]:
        scores = SAMPLED_GRADIENT.score(Evidence(1000, seed, gradients=torch.tensor([0.0, 1.0] * 500)))
        cells: list[int] = scores.topk(200).indices.tolist()
        return cells

    assert draw(1) == draw(1) != draw(2)
    assert all(cell % 2 == 1 for cell in draw(1))


def test_plugin_report_format_is_chosen_by_name_or_file_extension(lori_cl: Command, tmp_path: Path) -> None:
    printed, written = lori_cl("report", "first", "--format", "tex"), tmp_path / "report.tex"
    assert lori_cl("report", "first", "-o", written).returncode == 0
    assert written.read_text() == printed.stdout
    acc = json.loads(lori_cl("report", "first", "--json").stdout)["views"]["as_trained"]["metrics"]["acc"]
    assert f"first & as\\_trained & {100 * acc:.1f} & " in printed.stdout


def test_plugin_merge_method_merges_tasks_of_a_run(python: Python, trained: Path, tmp_path: Path) -> None:
    merge = ["merge", "first", "--tasks", "one,two"]
    largest = [*merge, "--method", "largest", "--density", "1", "--out", tmp_path / "largest"]
    python(_commands(trained, largest, [*merge, "--method", "sum", "--out", tmp_path / "sum"]))
    found, total = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("largest", "sum"))
    assert found.keys() == total.keys()
    assert all(torch.equal(found[name], total[name]) for name in total)  # the masks are disjoint


def test_plugin_merge_method_keeps_the_largest_value_of_every_entry(installed_modules: None) -> None:
    from lori_cl_l2.merge_method import LARGEST

    tensors = [torch.tensor([1.0, -3.0, 0.0]), torch.tensor([-2.0, 1.0, 4.0])]
    assert LARGEST.combine(tensors, [1.0, 0.5], 1.0).tolist() == [1.0, -3.0, 2.0]


@pytest.mark.parametrize(
    ("arguments", "unknown", "available"),
    [
        (["report", "first", "--format", "text"], "report format 'text'", (*FORMAT_NAMES, "tex")),
        (
            ["merge", "first", "--tasks", "one,two", "--out", "x", "--method", "largst"],
            "merge method 'largst'",
            (*METHOD_NAMES, "largest"),
        ),
    ],
    ids=["report format", "merge method"],
)
def test_unknown_name_is_a_one_line_error_that_lists_plugins(
    lori_cl: Command, arguments: list[str], unknown: str, available: tuple[str, ...]
) -> None:
    refused = lori_cl(*arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        f"UnknownImplementation: unknown {unknown} (available: {', '.join(available)}). "
        f"Did you mean '{available[-1]}'?\n"
    )


@pytest.mark.parametrize(("command", "name"), [("report", "tex"), ("merge", "largest")])
def test_help_lists_names_of_plugins_without_importing_them(site: Path, command: str, name: str) -> None:
    shown = _fresh_python(
        site,
        "import sys\n"
        "from lori_cl.cli.main import main\n"
        "try:\n"
        f"    main([{command!r}, '--help'], standalone_mode=False)\n"
        "finally:\n"
        "    print('IMPORTED', *sorted({'torch', 'lori_cl_l2', 'lori_cl.reports'} & set(sys.modules)))",
    )
    assert re.search(rf"[|\s]{name}[]\s]", shown)
    assert shown.splitlines()[-1].strip() == "IMPORTED"


def test_run_that_needs_a_missing_plugin_is_a_one_line_error(
    trained: Path, preloaded: PreloadedProcess
) -> None:
    refused = preloaded.run("lori-cl", "--workspace", trained, "predict", "first", "--task", "one", "7")
    assert refused.returncode == 2
    assert refused.stderr == (
        "InputError: task 'one': unknown task kind 'yes_no' (available: classification, multiple_choice, "
        "generation, code, safety, lm-eval). If a plugin added it, install the plugin.\n"
    )


def test_report_shows_scores_of_a_missing_plugin_task_kind(
    trained: Path, lori_cl: Command, preloaded: PreloadedProcess
) -> None:
    without = preloaded.run("lori-cl", "--workspace", trained, "report", "first")
    assert (without.returncode, without.stdout) == (0, lori_cl("report", "first").stdout)


def test_plugins_of_every_group_are_listed_with_their_package(lori_cl: Command) -> None:
    listed = json.loads(lori_cl("plugins", "--json").stdout)
    assert {plugin["group"]: (plugin["name"], plugin["package"]) for plugin in listed} == {
        "lori_cl.methods": ("l2-to-last-stage", "lori-cl-l2 0.1.0"),
        "lori_cl.mask_strategies": ("sampled-gradient", "lori-cl-l2 0.1.0"),
        "lori_cl.task_kinds": ("yes_no", "lori-cl-l2 0.1.0"),
        "lori_cl.scorers": ("first_letter", "lori-cl-l2 0.1.0"),
        "lori_cl.report_formats": ("tex", "lori-cl-l2 0.1.0"),
        "lori_cl.merge_methods": ("largest", "lori-cl-l2 0.1.0"),
    }
    assert {plugin["group"] for plugin in listed} == set(GROUPS)
    assert (
        "merge method largest: lori-cl-l2 0.1.0 (lori_cl_l2.merge_method:LARGEST)"
        in lori_cl("plugins").stdout
    )
