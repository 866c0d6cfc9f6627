from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from lori_cl.adapters import resolve_weights
from lori_cl.cli.main import main
from lori_cl.spec import load_curriculum, load_task
from tests.preloaded import PreloadedProcess

ROOT = Path(__file__).parents[2]
TASKS = sorted(
    [
        *ROOT.glob("tasks/**/*.yaml"),
        *ROOT.glob("examples/first/*.yaml"),
        *ROOT.glob("examples/cl_benchmark/tasks/*.yaml"),
        *ROOT.glob("examples/real_llm/news.yaml"),
        *ROOT.glob("lori_cl/demo/**/tasks/*.yaml"),
    ]
)
CURRICULA = sorted(
    [
        *ROOT.glob("examples/**/curriculum.yaml"),
        *ROOT.glob("examples/cl_benchmark/*.yaml"),
        *ROOT.glob("examples/paper/*.yaml"),
        *ROOT.glob("lori_cl/demo/**/curriculum.yaml"),
    ]
)
PAPER = ROOT / "examples" / "paper"
CONTINUAL = sorted(PAPER.glob("continual-*.yaml"))
SINGLE = sorted(PAPER.glob("single-*.yaml"))
SMALL = ["--set=train.limit=16", "--set=train.epochs=1", "--set=train.max_length=16", "--set=eval.limit=8"]


def run_script(script: Path, workspace: Path, preloaded: PreloadedProcess, **environment: str) -> str:
    """Run a script with this interpreter's folder on the PATH; return its output."""
    folders = (str(preloaded.commands), str(Path(sys.executable).parent), os.environ["PATH"])
    of_script = {"PATH": os.pathsep.join(folders), "LORI_CL_WORKSPACE": str(workspace)}
    done = subprocess.run(
        ["sh", script, *SMALL],
        env=os.environ | of_script | environment,
        cwd=workspace.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("file", [f for f in TASKS if f not in CURRICULA], ids=lambda f: f.stem)
def test_every_shipped_task_loads_and_is_named_like_its_file(file: Path) -> None:
    assert load_task(file).name == file.stem


@pytest.mark.parametrize("file", CURRICULA, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_every_shipped_curriculum_loads_and_names_shipped_tasks(file: Path) -> None:
    assert set(load_curriculum(file).tasks) <= {task.stem for task in TASKS}


def test_orders_of_the_cl_benchmark_permute_four_and_fifteen_tasks() -> None:
    orders = [load_curriculum(ROOT / f"examples/cl_benchmark/order-{i}.yaml").tasks for i in range(1, 7)]
    shipped = {file.stem for file in ROOT.glob("examples/cl_benchmark/tasks/*.yaml")}
    assert len(set(orders)) == 6
    assert {frozenset(order) for order in orders[3:]} == {frozenset(shipped)}
    assert [len(order) for order in orders] == [4, 4, 4, 15, 15, 15]
    assert len({frozenset(order) for order in orders[:3]}) == 1


@pytest.mark.parametrize("file", CONTINUAL, ids=lambda f: f.stem)
def test_continual_curricula_of_the_paper_train_one_shared_adapter(file: Path) -> None:
    spec = load_curriculum(file)
    assert spec.tasks[0] == "hex-phi"
    assert (spec.adapter.projection, spec.adapter.composition) == ("shared", "stacked")
    assert (spec.masks.overlap, spec.masks.freeze) == ("allow", False)


@pytest.mark.parametrize("file", SINGLE, ids=lambda f: f.stem)
def test_single_task_curricula_of_the_paper_use_isolated_adapters(file: Path) -> None:
    spec = load_curriculum(file)
    assert len(spec.tasks) == 1
    assert (spec.adapter.projection, spec.adapter.composition) == ("per-task", "isolated")


def test_every_curriculum_of_the_paper_is_continual_or_single_task() -> None:
    assert (len(CONTINUAL), len(SINGLE)) == (6, 8)
    assert sorted([*CONTINUAL, *SINGLE]) == sorted(PAPER.glob("*.yaml"))


def commands_of_the_paper() -> list[tuple[str, list[str], dict[str, Any]]]:
    """Return name, words and parsed options of every command in the paper's README."""
    text = (PAPER / "README.md").read_text(encoding="utf-8")
    found = []
    for line in "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).splitlines():
        program, name, *words = shlex.split(line)
        assert program == "lori-cl"
        command = main.get_command(click.Context(main), name)
        assert command is not None, name
        found.append((name, words, command.make_context(name, [*words]).params))
    return found


def test_commands_of_the_paper_use_shipped_files_and_merge_trained_tasks() -> None:
    trained: dict[str, tuple[str, ...]] = {}
    for name, words, options in commands_of_the_paper():
        files = [ROOT / word for word in words if word.endswith(".yaml")]
        assert [file for file in files if not file.is_file()] == []
        if name == "run":
            spec = load_curriculum(files[0], options["settings"])
            trained[spec.run_name(options["name"])] = spec.tasks
        if name == "merge":
            tasks = [task.rpartition(":") for task in options["tasks"].split(",")]
            assert all(task in trained[run or options["run"]] for run, _, task in tasks)
            assert resolve_weights(options["method"], len(tasks), options["weights"])
    assert len(trained) == 12


@pytest.mark.parametrize(
    ("adapters", "dense", "weight"), [(3, True, 0.5), (3, False, 0.4), (4, True, 0.4), (4, False, 0.3)]
)
def test_merges_of_the_paper_have_the_published_weights(adapters: int, dense: bool, weight: float) -> None:
    merges = [options for name, _, options in commands_of_the_paper() if name == "merge"]
    matching = [m for m in merges if len(m["weights"]) == adapters and m["run"].endswith("-d") == dense]
    assert matching
    assert {w for merge in matching for w in merge["weights"]} == {weight}


@pytest.mark.nightly
def test_first_example_produces_a_report_of_two_runs(tmp_path: Path, preloaded: PreloadedProcess) -> None:
    shutil.copytree(ROOT / "examples" / "first", tmp_path / "first", ignore=shutil.ignore_patterns("data"))
    printed = run_script(tmp_path / "first" / "run.sh", tmp_path / "workspace", preloaded)
    side_by_side = printed[printed.index("Metrics, view current") :].splitlines()
    assert side_by_side[1].split() == ["lori", "sequential-lora"]
    assert (tmp_path / "workspace" / "report.html").read_text(encoding="utf-8").count("<h2") >= 2


@pytest.mark.nightly
def test_real_text_example_trains_its_five_tasks_in_order_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preloaded: PreloadedProcess
) -> None:
    for file in ROOT.glob("tasks/cl_bench/*.yaml"):
        labels = yaml.safe_load(file.read_text(encoding="utf-8"))["labels"]
        folder = tmp_path / "data" / file.stem
        folder.mkdir(parents=True)
        for split in ("train", "test"):
            rows = [{"text": f"{split} sentence {i}", "label": labels[i % len(labels)]} for i in range(16)]
            lines = map(json.dumps, rows)
            (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    script = ROOT / "examples" / "real_text" / "run.sh"
    printed = run_script(script, tmp_path / "workspace", preloaded, LORI_CL_DATA=str(tmp_path / "data"))
    assert "5 amazon" in printed
    assert "5 more tasks of density 0.1 fit" in printed
    before = sorted(f.name for f in (tmp_path / "workspace" / "artifacts").iterdir())
    monkeypatch.setenv("LORI_CL_DATA", str(tmp_path / "data"))
    again = ["run", str(script.with_name("curriculum.yaml")), "--name", "real-text-lori", *SMALL]
    done = CliRunner().invoke(main, ["--workspace", str(tmp_path / "workspace"), *again])
    assert done.exit_code == 0, done.output
    assert sorted(f.name for f in (tmp_path / "workspace" / "artifacts").iterdir()) == before
