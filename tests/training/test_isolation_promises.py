"""The main guarantee, end to end: the answers for an earlier task never change by a bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lori_cl.digest import derive_seed
from lori_cl.evaluation.stage_file import read_stage
from lori_cl.methods import METHODS, StageState
from lori_cl.models.base_model import load_base
from lori_cl.registry import Run, Workspace
from lori_cl.spec import CurriculumSpec
from lori_cl.task_data.eval_tasks import prepare_eval_task
from lori_cl.tasks import KINDS
from lori_cl.training import RunOptions, stage_training
from lori_cl.training.trainer import JobTrainer
from lori_cl.training.training_job import TrainingJob, TrainResult

HARD_TRAINING = {
    "decay and clipping": {"weight_decay": 0.1, "max_grad_norm": 0.1},
    "momentum": {"optimizer": "sgd", "weight_decay": 0.1},
    "accumulation": {"gradient_accumulation": 2, "weight_decay": 0.1},
}


@pytest.fixture
def frozen_cells_compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Compare all frozen cells before and after every training job; record each job's nonzero count."""
    run_job, compared = stage_training.run_job, []

    def compared_job(job: TrainingJob, *rest: Any) -> TrainResult:
        frozen = {name: b for name, b in job.learner.named_buffers() if name.endswith(".frozen")}
        before = {name: b.clone() for name, b in frozen.items()}
        result = run_job(job, *rest)
        assert all(torch.equal(before[name], b) for name, b in frozen.items())
        compared.append(sum(int(b.count_nonzero()) for b in frozen.values()))
        return result

    monkeypatch.setattr(stage_training, "run_job", compared_job)
    return compared


@pytest.mark.parametrize("settings", HARD_TRAINING.values(), ids=HARD_TRAINING.keys())
def test_no_training_job_changes_a_bit_of_an_earlier_cell(
    train_run: Callable[..., Run], settings: dict[str, object], frozen_cells_compared: list[int]
) -> None:
    train = {"epochs": 2, "batch_size": 4, "lr": 0.05, "max_length": 16, **settings}
    run = train_run("a", "b", "c", train=train, masks={"density": 0.3})
    cells = [stage.mask.cells for stage in run.stages if stage.mask]
    calibrated_and_trained = [before for before in (0, cells[0], cells[0] + cells[1]) for _ in range(2)]
    assert frozen_cells_compared == calibrated_and_trained


def test_training_job_that_changes_earlier_cells_is_detected(
    train_run: Callable[..., Run], frozen_cells_compared: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = JobTrainer.training_step

    def corrupting_step(self: JobTrainer, model: Any, *rest: Any) -> Tensor:
        for name, buffer in model.named_buffers():
            if name.endswith(".frozen"):
                buffer.mul_(0.5)
        return step(self, model, *rest)

    monkeypatch.setattr(JobTrainer, "training_step", corrupting_step)
    train_run("a")
    with pytest.raises(AssertionError):
        train_run("a", "b")


def first_task_logits(workspace: Workspace, run: Run) -> Tensor:
    """Return the as_trained logits of the first task from a model loaded from the run's files alone."""
    curriculum = CurriculumSpec.model_validate(dict(run.curriculum))
    base = load_base(curriculum.model, "encoder")
    method = METHODS[run.method](curriculum)
    model = method.attach(base.model, derive_seed(run.seed, "projection"))
    tensors, state = read_stage(workspace.artifacts.get(run.stages[0].artifact, "safetensors"))
    method.activate([StageState(run.stages[0].task, tensors, run.stages[0].seeds)])
    eval_task = prepare_eval_task(workspace, run.tasks[0], curriculum, 16)
    kind = KINDS["classification"]
    head = kind.head(eval_task.spec, base.width, seed=0)
    assert head is not None
    head.load_state_dict(state)
    learner = kind.learner(model, head).eval()
    batch = base.tokenizer([e.text for e in eval_task.examples], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits: Tensor = learner(batch["input_ids"], batch["attention_mask"])["logits"]
    return logits


@pytest.mark.parametrize("settings", HARD_TRAINING.values(), ids=HARD_TRAINING.keys())
def test_earlier_tasks_logits_stay_bit_identical_after_every_later_stage(
    train_run: Callable[..., Run], workspace: Workspace, settings: dict[str, object]
) -> None:
    train = {"epochs": 2, "batch_size": 4, "lr": 0.05, "max_length": 16, **settings}
    before = first_task_logits(workspace, train_run("a", train=train))
    after = [
        first_task_logits(workspace, train_run(*tasks, train=train))
        for tasks in (("a", "b"), ("a", "b", "c"))
    ]
    assert all(torch.equal(before, logits) for logits in after)


def test_measured_as_trained_scores_never_change(
    train_run: Callable[..., Run], scores: Callable[..., dict]
) -> None:
    train_run("a", "b", "c", options=RunOptions(measure_all=True))
    column = [scores()[stage, "a", "as_trained"] for stage in (1, 2, 3)]
    assert {e.source for e in column} == {"measured"}
    assert len({e.outcomes for e in column}) == len({e.input_digest for e in column}) == 1


def test_current_view_is_scored_on_the_cells_of_all_stages(
    train_run: Callable[..., Run], scores: Callable[..., dict]
) -> None:
    train_run("a", "b")
    found = scores()
    assert found[2, "a", "current"].input_digest != found[2, "a", "as_trained"].input_digest
    assert found[2, "b", "current"].input_digest == found[2, "b", "as_trained"].input_digest


@pytest.mark.parametrize("strategy", ["magnitude", "random"])
def test_stages_have_disjoint_masks_of_exactly_k_cells(
    train_run: Callable[..., Run], workspace: Workspace, strategy: str
) -> None:
    from lori_cl.masks import Mask

    run = train_run("a", "b", "c", masks={"strategy": strategy, "density": 0.3})
    assert run.projection is not None
    shapes = {site: (out, run.projection.rank) for site, (out, _) in run.projection.sites.items()}
    masks = []
    for stage in run.stages:
        tensors, _ = read_stage(workspace.artifacts.get(stage.artifact, "safetensors"))
        masks.append(Mask.from_packed({site: tensors[f"mask/{site}"] for site in shapes}, shapes).flat())
    assert [int(mask.sum()) for mask in masks] == [round(0.3 * 448)] * 3
    assert int(torch.stack(masks).sum(dim=0).max()) == 1


def test_base_weights_are_never_written(
    train_run: Callable[..., Run], tiny_encoder: Path, workspace: Workspace
) -> None:
    before = (tiny_encoder / "model.safetensors").read_bytes()
    run = train_run("a", "b")
    curriculum = CurriculumSpec.model_validate(dict(run.curriculum))
    assert (tiny_encoder / "model.safetensors").read_bytes() == before
    assert load_base(curriculum.model, "encoder").digest == run.base_digest
