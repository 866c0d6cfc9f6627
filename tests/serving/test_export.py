import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from lori_cl import digest
from lori_cl.adapters import lora_layers
from lori_cl.errors import ExportDiffers, InputError, WorkspaceUnusable
from lori_cl.evaluation import LoadedRun, load_run
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.serving import export as export_file
from lori_cl.serving.export import export
from lori_cl.serving.interference import _eval_moments
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.tasks import kind_of
from lori_cl.tasks.kinds.pooling import mean_pooled
from lori_cl.training import RunOptions, run_curriculum
from tests.nightly import only_in_ci
from tests.tiny import tiny_curriculum

TrainRun = Callable[..., Run]
TEXTS = ["it is wet red dry", "is it flat blue small", "red"]
HARD = {"epochs": 4, "batch_size": 4, "lr": 0.05, "max_length": 16}
PROJECTIONS = ["shared", "per-task", "orthogonal", "null-space"]


def loaded(workspace: Workspace) -> LoadedRun:
    with workspace.read() as registry:
        return load_run(workspace, registry, "run")


def states(model: torch.nn.Module, base: Path) -> Tensor:
    batch = AutoTokenizer.from_pretrained(base)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        return mean_pooled(model.eval(), batch["input_ids"], batch["attention_mask"])


def adapter_of(projection: str) -> dict[str, object]:
    limit = {"null_space": {"max_directions": 4}} if projection == "null-space" else {}
    return {"rank": 4, "alpha": 8, "projection": projection, **limit}


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("task", only_in_ci(["a", None], ["a", "b", None]))
def test_peft_computes_the_outputs_of_the_run_bit_for_bit(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    projection: str,
    task: str | None,
) -> None:
    train_run("a", "b", adapter=adapter_of(projection), train=HARD)
    run = loaded(workspace)
    done = export(run, task, tmp_path / "out")
    run.method.activate(run.acting(task))
    ours = states(run.model, tiny_encoder)
    plain = PeftModel.from_pretrained(AutoModel.from_pretrained(tiny_encoder), tmp_path / "out")
    assert torch.equal(states(plain, tiny_encoder), ours)
    assert not torch.equal(states(AutoModel.from_pretrained(tiny_encoder), tiny_encoder), ours)
    assert done.largest_difference == 0.0
    assert done.tasks == ((task,) if task else ("a", "b"))


def test_plain_lora_is_exported_exactly(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path, tiny_encoder: Path
) -> None:
    train_run("a", "b", method="sequential-lora", masks={}, train=HARD)
    done = export(loaded(workspace), "a", tmp_path / "out")
    assert (done.largest_difference, done.rank) == (0.0, 4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_code_in_an_exported_readme_computes_the_logits_of_the_task(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path, tiny_encoder: Path, dtype: str
) -> None:
    train_run("a", train=HARD, model={"path": str(tiny_encoder), "dtype": dtype})
    run = loaded(workspace)
    done = export(run, "a", tmp_path / "out")
    assert done.heads == ("a.head.safetensors",)
    readme = (tmp_path / "out" / "README.md").read_text()
    assert 'labels: ["red","blue"]' in readme
    batch = AutoTokenizer.from_pretrained(tiny_encoder)(TEXTS, padding=True, return_tensors="pt")
    base = AutoModel.from_pretrained(tiny_encoder, dtype=dtype).eval()
    theirs = {"base_model": base, "inputs": batch}
    with torch.no_grad():
        for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL):
            exec(block, theirs)
    run.method.activate(run.acting("a"))
    learner = kind_of(run.eval_tasks[0].spec).learner(run.model, run.history[0].head).eval()
    with torch.no_grad():
        ours = learner(batch["input_ids"], batch["attention_mask"])["logits"]
    assert torch.equal(theirs["logits"], ours)


def test_a_full_disk_leaves_no_folder_behind(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_run("a", train=HARD)
    for files_that_fit in (0, 1):  # the disk is full at the adapter, or at its head
        files = iter([save_file] * files_that_fit)

        def write(*arguments: Any, files: Iterator[Any] = files) -> None:
            if (save := next(files, None)) is None:
                raise SafetensorError("I/O error: No space left on device (os error 28)")
            save(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr("lori_cl.adapters.peft_files.save_file", write)
            with pytest.raises(WorkspaceUnusable, match="out cannot be written: I/O error: No space left"):
                export(loaded(workspace), "a", tmp_path / "out", verify=False)
        assert not any(tmp_path.glob("*out*"))


def test_export_to_the_current_directory_is_refused(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a", train=HARD)
    with pytest.raises(InputError, match="name a folder inside it"):
        export(loaded(workspace), "a", Path())


@pytest.mark.parametrize(("composition", "stacked_on"), [("stacked", ("a",)), ("isolated", ())])
def test_export_names_the_tasks_it_was_trained_on_top_of(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path, composition: str, stacked_on: tuple[str, ...]
) -> None:
    train_run("a", "b", adapter={"rank": 4, "alpha": 8, "composition": composition}, train=HARD)
    assert export(loaded(workspace), "b", tmp_path / "out", verify=False).stacked_on == stacked_on


def test_metadata_of_an_export_names_the_base_model(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path, tiny_encoder: Path
) -> None:
    run = train_run("a", "b", train=HARD)
    export(loaded(workspace), "b", tmp_path / "out", verify=False)
    with safe_open(tmp_path / "out" / "adapter_model.safetensors", "pt") as file:
        metadata = json.loads(file.metadata()["lori_cl"])
    assert metadata["base"] == {"path": str(tiny_encoder), "revision": None, "digest": run.base_digest}
    assert metadata["stages"] == {stage.task: stage.artifact for stage in run.stages}
    assert (metadata["view"], metadata["task"]) == ("as_trained", "b")


def test_adapter_without_effect_is_refused(train_run: TrainRun, workspace: Workspace, tmp_path: Path) -> None:
    train_run("a", train={**HARD, "lr": 1e-30})
    run = loaded(workspace)
    for trained in run.acting("a"):
        for key, values in trained.tensors.items():
            if key.startswith("values/"):
                values.zero_()
    with pytest.raises(InputError, match="zero everywhere"):
        export(run, "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_export_to_a_non_empty_folder_is_refused(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path
) -> None:
    train_run("a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        export(loaded(workspace), "a", tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine"]


Change = Callable[[str, Tensor], Tensor]


@pytest.fixture
def change_written_adapter(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], None]:
    """Return a function that makes every adapter be written with changed tensors."""
    save_peft = export_file.save_peft

    def change(changed: Change) -> None:
        def write(folder: Path, *args: Any, **options: Any) -> None:
            save_peft(folder, *args, **options)
            file = folder / "adapter_model.safetensors"
            tensors = {name: changed(name, t).contiguous() for name, t in load_file(file).items()}
            save_file(tensors, file)

        monkeypatch.setattr(export_file, "save_peft", write)

    return change


def zero_b(name: str, tensor: Tensor) -> Tensor:
    return tensor * 0 if "lora_B" in name else tensor


def nan_b(name: str, tensor: Tensor) -> Tensor:
    return tensor * torch.nan if "lora_B" in name else tensor


@pytest.mark.parametrize("damage", only_in_ci([zero_b], [zero_b, nan_b, lambda _, tensor: tensor * 3]))
@pytest.mark.parametrize(
    "settings",
    [
        {"method": "sequential-lora", "masks": {}, "train": {**HARD, "lr": 5e-5}},
        {"train": {**HARD, "lr": 5e-3, "epochs": 1}},
        {"train": HARD, "dtype": "bfloat16"},
    ],
    ids=["sequential-lora", "lori", "bfloat16"],
)
def test_export_that_peft_loads_differently_is_detected_and_removed(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    change_written_adapter: Callable[[Change], None],
    settings: dict[str, Any],
    damage: Change,
) -> None:
    dtype = settings.get("dtype", "float32")
    fields = {name: value for name, value in settings.items() if name != "dtype"}
    train_run("a", model={"path": str(tiny_encoder), "dtype": dtype}, **fields)
    change_written_adapter(damage)
    with pytest.raises(ExportDiffers, match="its outputs differ by"):
        export(loaded(workspace), "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rounding_differences_are_accepted_and_reported(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    change_written_adapter: Callable[[Change], None],
) -> None:
    train_run("a", train=HARD)
    change_written_adapter(
        lambda name, tensor: tensor.flip(0 if "lora_A" in name else 1)
    )  # another summation order
    done = export(loaded(workspace), "a", tmp_path / "out")
    assert done.largest_difference is not None
    assert 0 < done.largest_difference < 1e-5


def test_export_that_could_not_be_checked_is_removed(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    train_run("a")
    monkeypatch.setattr(export_file, "load_base", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        export(loaded(workspace), "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_export_does_not_change_the_loaded_run(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path
) -> None:
    train_run("a", "b", train=HARD)
    run = loaded(workspace)
    before = run.weights(run.acting("a"))
    export(run, "b", tmp_path / "out")
    after = run.weights(run.acting("a"))
    assert all(torch.equal(before.b[site], after.b[site]) for site in lora_layers(run.model))


def test_causal_model_is_exported_exactly_and_has_no_heads(generation_run: LoadedRun, tmp_path: Path) -> None:
    for task in ("turn", None):
        done = export(generation_run, task, tmp_path / str(task))
        assert (done.largest_difference, done.heads) == (0.0, ())


def test_export_works_if_eval_answers_exceed_the_maximum_length(
    workspace: Workspace, tmp_path: Path, declare_generation: Callable[..., None], tiny_causal_lm: Path
) -> None:
    declare_generation("say", answers=["red blue red blue red blue red blue"], max_new_tokens=24)
    curriculum = tiny_curriculum(tiny_causal_lm, ["say"])
    file = tmp_path / "long.yaml"
    file.write_text(yaml.safe_dump(curriculum))
    run_curriculum(workspace, load_curriculum(file), "run", RunOptions(), SilentProgress())
    run = loaded(workspace)
    assert run.eval_tasks[0].max_length == 8, "the answers have 9 tokens"
    assert export(run, "say", tmp_path / "out").largest_difference == 0.0
    (moments,) = _eval_moments(run, 0, run.update(0).sites, 4)
    assert moments.keys() == lora_layers(run.model).keys()


def test_title_of_the_readme_names_what_was_exported(generation_run: LoadedRun, tmp_path: Path) -> None:
    for task, title in (("turn", "# turn of run"), (None, "# Everything learned of run")):
        export(generation_run, task, tmp_path / str(task), verify=False)
        assert (tmp_path / str(task) / "README.md").read_text().startswith(f"{title}\n")


def test_label_cannot_inject_code_into_the_readme(
    workspace: Workspace,
    write_task: Callable[..., Path],
    write_curriculum: Callable[..., Path],
    tmp_path: Path,
) -> None:
    labels = ("red", "blue\nimport os\n```\n# \u202eowned")
    register_tasks(workspace, [write_task("a", labels)])
    spec = load_curriculum(write_curriculum("a"))
    run_curriculum(workspace, spec, "run", RunOptions(), SilentProgress())
    export(loaded(workspace), "a", tmp_path / "out", verify=False)
    text = (tmp_path / "out" / "README.md").read_text()
    assert 'labels: ["red","blue\\nimport os\\n```\\n# \\u202eowned"]\n' in text


@pytest.mark.parametrize(("task", "view"), [("b", "as_trained"), (None, "current")])
def test_exported_folder_records_its_base_run_stages_scores_and_the_digests_of_its_files(
    trained: Workspace, tmp_path: Path, tiny_encoder: Path, task: str | None, view: str
) -> None:
    export(loaded(trained), task, tmp_path / "out", verify=False)
    record = json.loads((tmp_path / "out" / "lori_cl.json").read_text())
    with trained.read() as registry:
        run, scores = registry.run("run"), registry.evaluations("run")
    assert record["format"] == "lori_cl export 1"
    assert record["base"] == {"path": str(tiny_encoder), "revision": None, "digest": run.base_digest}
    assert (record["run"], record["seed"], record["method"], record["view"]) == ("run", 0, "lori", view)
    names = ["a", "b"] if task is None else [task]
    assert [(each["task"], each["version"], each["stage"]) for each in record["tasks"]] == [
        (name, 1, "ab".index(name) + 1) for name in names
    ]
    for each in record["tasks"]:
        [score] = [s for s in scores if (s.task, s.view, s.stage) == (each["task"], view, 2)]
        assert each["artifact"] == run.stages[each["stage"] - 1].artifact
        assert each["score"] == {
            "metric": "accuracy",
            "value": score.score,
            "stderr": score.stderr,
            "n": score.n,
            "after_stage": 2,
        }
    files = {"adapter_model.safetensors", *(f"{name}.head.safetensors" for name in names)}
    assert record["files"] == {name: digest.of_file(tmp_path / "out" / name) for name in files}
    readme = (tmp_path / "out" / "README.md").read_text()
    for shown in (run.base_digest, *record["files"].values(), "seed 0", "trained in stage 2: accuracy"):
        assert shown in readme


def test_task_that_was_not_evaluated_under_the_view_is_exported_without_a_score(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path
) -> None:
    train_run("a", eval={"views": ["current"]})
    export(loaded(workspace), "a", tmp_path / "out", verify=False)
    assert json.loads((tmp_path / "out" / "lori_cl.json").read_text())["tasks"][0]["score"] is None
    assert "trained in stage 1: not evaluated" in (tmp_path / "out" / "README.md").read_text()
