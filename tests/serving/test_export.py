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

from lori_cl.adapters import lora_layers
from lori_cl.errors import ExportDiffers, InputError, WorkspaceUnusable
from lori_cl.registry import Run, Workspace
from lori_cl.serving import export as export_file
from lori_cl.serving.export import export
from lori_cl.serving.interference import _eval_moments
from lori_cl.spec import load_curriculum
from lori_cl.tasks import kind_of
from lori_cl.tasks.kinds.pooling import mean_pooled
from lori_cl.training import LoadedRun, RunOptions, SilentObserver, enrol, load_run, run_curriculum
from tests.tiny import tiny_curriculum

Learn = Callable[..., Run]
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
@pytest.mark.parametrize("task", ["a", "b", None])
def test_peft_alone_computes_what_the_run_computes_bit_by_bit(
    learn: Learn,
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    projection: str,
    task: str | None,
) -> None:
    learn("a", "b", adapter=adapter_of(projection), train=HARD)
    run = loaded(workspace)
    done = export(run, task, tmp_path / "out")
    run.method.activate(run.acting(task))
    ours = states(run.model, tiny_encoder)
    plain = PeftModel.from_pretrained(AutoModel.from_pretrained(tiny_encoder), tmp_path / "out")
    assert torch.equal(states(plain, tiny_encoder), ours)
    assert not torch.equal(states(AutoModel.from_pretrained(tiny_encoder), tiny_encoder), ours)
    assert done.largest_difference == 0.0
    assert done.tasks == ((task,) if task else ("a", "b"))


def test_a_plain_lora_is_exported_in_the_same_way(
    learn: Learn, workspace: Workspace, tmp_path: Path, tiny_encoder: Path
) -> None:
    learn("a", "b", method="sequential-lora", masks={}, train=HARD)
    done = export(loaded(workspace), "a", tmp_path / "out")
    assert (done.largest_difference, done.rank) == (0.0, 4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_code_in_an_exported_readme_gives_the_tasks_logits(
    learn: Learn, workspace: Workspace, tmp_path: Path, tiny_encoder: Path, dtype: str
) -> None:
    learn("a", train=HARD, model={"path": str(tiny_encoder), "dtype": dtype})
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
    learner = kind_of(run.questions[0].spec).learner(run.model, run.history[0].head).eval()
    with torch.no_grad():
        ours = learner(batch["input_ids"], batch["attention_mask"])["logits"]
    assert torch.equal(theirs["logits"], ours)


def test_a_full_disk_leaves_no_folder_behind(
    learn: Learn, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn("a", train=HARD)
    for held in (0, 1):  # the adapter does not fit, or its head does not
        files = iter([save_file] * held)

        def write(*what: Any, files: Iterator[Any] = files) -> None:
            if (save := next(files, None)) is None:
                raise SafetensorError("I/O error: No space left on device (os error 28)")
            save(*what)

        with monkeypatch.context() as broken:
            broken.setattr("lori_cl.adapters.peft_files.save_file", write)
            with pytest.raises(WorkspaceUnusable, match="out cannot be written: I/O error: No space left"):
                export(loaded(workspace), "a", tmp_path / "out", verify=False)
        assert not any(tmp_path.glob("*out*"))


def test_the_folder_one_stands_in_is_refused(learn: Learn, workspace: Workspace) -> None:
    learn("a", train=HARD)
    with pytest.raises(InputError, match="name one inside it"):
        export(loaded(workspace), "a", Path())


@pytest.mark.parametrize(("composition", "beneath"), [("stacked", ("a",)), ("isolated", ())])
def test_an_export_says_what_it_was_trained_on_top_of(
    learn: Learn, workspace: Workspace, tmp_path: Path, composition: str, beneath: tuple[str, ...]
) -> None:
    learn("a", "b", adapter={"rank": 4, "alpha": 8, "composition": composition}, train=HARD)
    assert export(loaded(workspace), "b", tmp_path / "out", verify=False).beneath == beneath


def test_the_base_model_travels_in_the_metadata(
    learn: Learn, workspace: Workspace, tmp_path: Path, tiny_encoder: Path
) -> None:
    run = learn("a", "b", train=HARD)
    export(loaded(workspace), "b", tmp_path / "out", verify=False)
    with safe_open(tmp_path / "out" / "adapter_model.safetensors", "pt") as file:
        told = json.loads(file.metadata()["lori_cl"])
    assert told["base"] == {"path": str(tiny_encoder), "revision": None, "digest": run.base_digest}
    assert told["stages"] == {stage.task: stage.artifact for stage in run.stages}
    assert (told["view"], told["task"]) == ("as_trained", "b")


def test_an_adapter_that_does_nothing_is_refused(learn: Learn, workspace: Workspace, tmp_path: Path) -> None:
    learn("a", train={**HARD, "lr": 1e-30})
    run = loaded(workspace)
    for learned in run.acting("a"):
        for key, values in learned.tensors.items():
            if key.startswith("values/"):
                values.zero_()
    with pytest.raises(InputError, match="zero everywhere"):
        export(run, "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(
    learn: Learn, workspace: Workspace, tmp_path: Path
) -> None:
    learn("a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        export(loaded(workspace), "a", tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine"]


Change = Callable[[str, Tensor], Tensor]


@pytest.fixture
def written_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], None]:
    """Let every adapter be written with its tensors changed."""
    sound = export_file.save_peft

    def change(changed: Change) -> None:
        def write(folder: Path, *args: Any, **options: Any) -> None:
            sound(folder, *args, **options)
            file = folder / "adapter_model.safetensors"
            tensors = {name: changed(name, t).contiguous() for name, t in load_file(file).items()}
            save_file(tensors, file)

        monkeypatch.setattr(export_file, "save_peft", write)

    return change


def nothing(name: str, tensor: Tensor) -> Tensor:
    return tensor * 0 if "lora_B" in name else tensor


def no_number(name: str, tensor: Tensor) -> Tensor:
    return tensor * torch.nan if "lora_B" in name else tensor


@pytest.mark.parametrize("damage", [nothing, no_number, lambda _, tensor: tensor * 3])
@pytest.mark.parametrize(
    "weakly",
    [
        {"method": "sequential-lora", "masks": {}, "train": {**HARD, "lr": 5e-5}},
        {"train": {**HARD, "lr": 5e-3, "epochs": 1}},
        {"train": HARD, "dtype": "bfloat16"},
    ],
    ids=["sequential-lora", "lori", "bfloat16"],
)
def test_an_export_that_peft_loads_differently_is_found_and_removed_however_little_was_learned(
    learn: Learn,
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    written_as: Callable[[Change], None],
    weakly: dict[str, Any],
    damage: Change,
) -> None:
    dtype = weakly.get("dtype", "float32")
    fields = {name: value for name, value in weakly.items() if name != "dtype"}
    learn("a", model={"path": str(tiny_encoder), "dtype": dtype}, **fields)
    written_as(damage)
    with pytest.raises(ExportDiffers, match="its outputs differ by"):
        export(loaded(workspace), "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rounding_is_no_difference_and_is_shown(
    learn: Learn, workspace: Workspace, tmp_path: Path, written_as: Callable[[Change], None]
) -> None:
    learn("a", train=HARD)
    written_as(lambda name, tensor: tensor.flip(0 if "lora_A" in name else 1))  # sums in another order
    done = export(loaded(workspace), "a", tmp_path / "out")
    assert done.largest_difference is not None
    assert 0 < done.largest_difference < 1e-5


def test_an_export_that_nobody_could_look_at_is_removed(
    learn: Learn, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    learn("a")
    monkeypatch.setattr(export_file, "load_base", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        export(loaded(workspace), "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_exporting_leaves_the_run_able_to_act(learn: Learn, workspace: Workspace, tmp_path: Path) -> None:
    learn("a", "b", train=HARD)
    run = loaded(workspace)
    before = run.weights(run.acting("a"))
    export(run, "b", tmp_path / "out")
    after = run.weights(run.acting("a"))
    assert all(torch.equal(before.b[site], after.b[site]) for site in lora_layers(run.model))


def test_a_causal_model_is_exported_bit_by_bit_too_and_has_no_heads(
    writing_run: LoadedRun, tmp_path: Path
) -> None:
    for task in ("turn", None):
        done = export(writing_run, task, tmp_path / str(task))
        assert (done.largest_difference, done.heads) == (0.0, ())


def test_eval_answers_that_are_longer_than_what_is_read_are_no_obstacle(
    workspace: Workspace, tmp_path: Path, declare_writing: Callable[..., None], tiny_causal_lm: Path
) -> None:
    declare_writing("say", answers=["red blue red blue red blue red blue"], max_new_tokens=24)
    curriculum = tiny_curriculum(tiny_causal_lm, ["say"])
    file = tmp_path / "long.yaml"
    file.write_text(yaml.safe_dump(curriculum))
    run_curriculum(workspace, load_curriculum(file), "run", RunOptions(), SilentObserver())
    run = loaded(workspace)
    assert run.questions[0].max_length == 8, "the answers have 9 tokens"
    assert export(run, "say", tmp_path / "out").largest_difference == 0.0
    (moments,) = _eval_moments(run, 0, run.update(0).sites, 4)
    assert moments.keys() == lora_layers(run.model).keys()


def test_a_readme_says_what_was_exported(writing_run: LoadedRun, tmp_path: Path) -> None:
    for task, title in (("turn", "# turn of run"), (None, "# Everything learned of run")):
        export(writing_run, task, tmp_path / str(task), verify=False)
        assert (tmp_path / str(task) / "README.md").read_text().startswith(f"{title}\n")


def test_a_label_writes_no_line_of_the_code_that_the_readme_shows(
    workspace: Workspace,
    write_task: Callable[..., Path],
    write_curriculum: Callable[..., Path],
    tmp_path: Path,
) -> None:
    labels = ("red", "blue\nimport os\n```\n# \u202eowned")
    enrol(workspace, [write_task("a", labels)])
    spec = load_curriculum(write_curriculum("a"))
    run_curriculum(workspace, spec, "run", RunOptions(), SilentObserver())
    export(loaded(workspace), "a", tmp_path / "out", verify=False)
    text = (tmp_path / "out" / "README.md").read_text()
    assert 'labels: ["red","blue\\nimport os\\n```\\n# \\u202eowned"]\n' in text
