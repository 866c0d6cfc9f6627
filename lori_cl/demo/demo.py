"""The demos: a few small tasks, trained sequentially with `lori` and with `sequential-lora`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from lori_cl import digest
from lori_cl.demo import data as tiny
from lori_cl.demo.smollm import data as support_desk
from lori_cl.errors import ArtifactDamaged, InputError, WorkspaceUnusable
from lori_cl.models.location import locate_model
from lori_cl.registry import Run, Workspace
from lori_cl.registry.safe_paths import require_tree_inside
from lori_cl.runtime import Progress
from lori_cl.spec import CurriculumSpec, MasksSpec, load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.training import RunOptions, run_curriculum

BASE_DIGEST = "f45526caa5e0059206c74b1705896975e4a79369acfda49b4426ee37c954f6c0"
"""Digest of the base model's files; `examples/demo_base/train.py` prints it."""


@dataclass(frozen=True)
class DemoPlan:
    """A demo: the package with its curriculum and tasks, its data, and each method's learning rate."""

    package: str
    write_data: Callable[[Path], None]
    learning_rates: Mapping[str, float]
    """Learning rate of each method. The method is also the name of its run. The docs describe the tuning."""
    bundled_base: bool = False
    """Whether lori_cl contains the base model."""


DEMOS = {
    "tiny": DemoPlan(
        "lori_cl.demo", tiny.write_data, {"lori": 1e-2, "sequential-lora": 1e-3}, bundled_base=True
    ),
    "smollm": DemoPlan(
        "lori_cl.demo.smollm", support_desk.write_data, {"lori": 5e-3, "sequential-lora": 5e-4}
    ),
}
"""The demos by the name of their base model."""


def run_demo(workspace: Workspace, progress: Progress, model: str = "tiny") -> list[Run]:
    """Create the workspace, add the tasks, and run the curriculum once per method. Resumes interrupted runs.

    The programs that the model of `tiny` writes for tiny-code run contained.
    Raises: InputError: no demo has this model. ModelError: the model is not installed. WorkspaceUnusable;
        ContainmentMissing; LoriError: a stage fails.
    """
    if model not in DEMOS:
        raise InputError(f"no demo uses the model '{model}' (available: {', '.join(DEMOS)})")
    plan = DEMOS[model]
    with as_file(files(plan.package)) as package:
        if plan.bundled_base:
            check_base(package / "base")
        curriculum = load_curriculum(package / "curriculum.yaml")
        locate_model(curriculum.model)  # raises an error before anything is written
        workspace.create()
        tasks = workspace.path("tasks", model)
        require_tree_inside(workspace.root, tasks, own_files=True)
        try:
            shutil.copytree(package / "tasks", tasks, dirs_exist_ok=True)
            plan.write_data(workspace.path("tasks", model, "data"))
        except OSError as error:
            raise WorkspaceUnusable(f"{tasks} cannot be written: {error.strerror}") from error
    register_tasks(workspace, [tasks / f"{name}.yaml" for name in curriculum.tasks])
    # The demo's results are not compared with others, so it may resume after an upgrade.
    options = RunOptions(allow_code_execution=True, allow_environment_change=True)
    return [
        run_curriculum(workspace, _with(curriculum, method, lr), method, options, progress)
        for method, lr in plan.learning_rates.items()
    ]


def _with(curriculum: CurriculumSpec, method: str, lr: float) -> CurriculumSpec:
    train = curriculum.train.model_copy(update={"lr": lr})
    masks = curriculum.masks if method == "lori" else MasksSpec()  # the plain LoRA reads none of them
    return curriculum.model_copy(update={"method": method, "train": train, "masks": masks})


def check_base(folder: Path) -> None:
    """Check that the base model is the released one.

    Raises: ArtifactDamaged.
    """
    found = base_digest(folder)
    if found != BASE_DIGEST:
        raise ArtifactDamaged(
            f"the demo's base model in {folder} has digest {found[:16]}…, not {BASE_DIGEST[:16]}…; "
            "reinstall it: pip install --force-reinstall lori-cl"
        )


def base_digest(folder: Path) -> str:
    """Return the SHA-256 over the names and digests of the folder's files."""
    return digest.of_json({file.name: digest.of_file(file) for file in sorted(folder.iterdir())})
