from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lori_cl.spec import load_curriculum, load_task

ROOT = Path(__file__).parents[2]
TASKS = sorted(
    [
        *ROOT.glob("tasks/**/*.yaml"),
        *ROOT.glob("examples/first/*.yaml"),
        *ROOT.glob("lori_cl/demo/tasks/*.yaml"),
    ]
)
CURRICULA = sorted(
    [
        *ROOT.glob("examples/**/curriculum.yaml"),
        *ROOT.glob("examples/paper/*.yaml"),
        ROOT / "lori_cl/demo/curriculum.yaml",
    ]
)
SMALL = ["--set=train.limit=16", "--set=train.epochs=1", "--set=train.max_length=16", "--set=eval.limit=8"]


def run_script(script: Path, workspace: Path, **environment: str) -> str:
    """What the script prints; the script finds `lori-cl` and `python` beside this interpreter."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Two test processes share the cores; threads of their own would only fight.
    quiet = {"PATH": path, "LORI_CL_WORKSPACE": str(workspace), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["sh", script, *SMALL],
        env=os.environ | quiet | environment,
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


def test_the_first_example_goes_from_sentences_to_a_report_of_two_runs(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "first", tmp_path / "first", ignore=shutil.ignore_patterns("data"))
    printed = run_script(tmp_path / "first" / "run.sh", tmp_path / "workspace")
    side_by_side = printed[printed.index("Metrics, view current") :].splitlines()
    assert side_by_side[1].split() == ["lori", "sequential-lora"]
    assert (tmp_path / "workspace" / "report.html").read_text(encoding="utf-8").count("<h2") >= 2


def test_the_real_text_example_learns_its_five_tasks_in_their_order_and_resumes(tmp_path: Path) -> None:
    for file in ROOT.glob("tasks/cl_bench/*.yaml"):
        labels = yaml.safe_load(file.read_text(encoding="utf-8"))["labels"]
        folder = tmp_path / "data" / file.stem
        folder.mkdir(parents=True)
        for split in ("train", "test"):
            rows = [{"text": f"{split} sentence {i}", "label": labels[i % len(labels)]} for i in range(16)]
            lines = map(json.dumps, rows)
            (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    script = ROOT / "examples" / "real_text" / "run.sh"
    printed = run_script(script, tmp_path / "workspace", LORI_CL_DATA=str(tmp_path / "data"))
    assert "5 amazon" in printed
    assert "5 more tasks of density 0.1 fit" in printed
    before = sorted(f.name for f in (tmp_path / "workspace" / "artifacts").iterdir())
    run_script(script, tmp_path / "workspace", LORI_CL_DATA=str(tmp_path / "data"))
    assert sorted(f.name for f in (tmp_path / "workspace" / "artifacts").iterdir()) == before
