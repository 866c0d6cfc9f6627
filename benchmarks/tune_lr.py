"""Find each method's learning rate on a split of train; the test sets are never looked at.

    LORI_CL_DATA=… python benchmarks/tune_lr.py --method sequential-lora --lr 2e-4 --lr 5e-4 --lr 1e-3

The last `--dev` rows of every task's train file become its eval set, the rest stays for training. Then the
curriculum runs once for each rate. The default in `lori_cl/methods/` is the rate with the best final average
under the view that the method is used in.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import click
import yaml

from lori_cl.registry import Workspace
from lori_cl.reports import gather, to_record
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions, SilentObserver, enrol, run_curriculum

ROOT = Path(__file__).parent.parent


def split_train(task: str, source: Path, target: Path, dev: int) -> Path:
    """Write train and test files out of one train file, and the task that names them."""
    rows = (source / task / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    folder = target / task
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.jsonl").write_text("".join(rows[:-dev]), encoding="utf-8")
    (folder / "test.jsonl").write_text("".join(rows[-dev:]), encoding="utf-8")
    declaration = yaml.safe_load((ROOT / "tasks" / "cl_bench" / f"{task}.yaml").read_text(encoding="utf-8"))
    file = target / f"{task}.yaml"
    file.write_text(yaml.safe_dump(declaration), encoding="utf-8")
    return file


@click.command()
@click.option("--curriculum", type=Path, default=ROOT / "examples" / "real_text" / "curriculum.yaml")
@click.option("--method", default="sequential-lora")
@click.option("--lr", "rates", type=float, multiple=True, required=True)
@click.option("--dev", default=256, help="Rows of each train file to score on.")
@click.option("--set", "settings", multiple=True, help="As of `lori-cl run`.")
def main(
    curriculum: Path, method: str, rates: tuple[float, ...], dev: int, settings: tuple[str, ...]
) -> None:
    """Print, for every rate and view, the final average, the backward transfer and the learning accuracy."""
    with tempfile.TemporaryDirectory() as scratch:
        workspace = Workspace(Path(scratch))
        workspace.create()
        tasks = load_curriculum(curriculum, settings).tasks
        data = Path(os.environ["LORI_CL_DATA"])
        enrol(workspace, [split_train(task, data, Path(scratch) / "data", dev) for task in tasks])
        for lr in rates:
            spec = load_curriculum(curriculum, [*settings, f"method={method}", f"train.lr={lr}"])
            run_curriculum(workspace, spec, f"lr-{lr:g}", RunOptions(), SilentObserver())
            with workspace.read() as registry:
                report = to_record(gather(registry, f"lr-{lr:g}"))
            for view, found in report["views"].items():
                print(json.dumps({"method": method, "lr": lr, "view": view, **found["metrics"]}), flush=True)


if __name__ == "__main__":
    main()
