import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from lori_cl.adapters import LoRAWeights, read_external_adapter
from lori_cl.errors import InputError, RunConflict, UnknownTask
from lori_cl.evaluation import LoadedRun, load_run
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.serving.adapter_import import import_folder
from lori_cl.serving.export import export
from lori_cl.serving.retire import retire_task
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.training import RunOptions, stage_training
from tests.nightly import only_in_ci

TrainRun = Callable[..., Run]
Scores = Callable[..., dict]
HARD = {"epochs": 4, "batch_size": 4, "lr": 0.05, "max_length": 16}
PLAIN = {"rank": 4, "alpha": 8}


def loaded(workspace: Workspace, name: str) -> LoadedRun:
    with workspace.read() as registry:
        return load_run(workspace, registry, name)


@pytest.fixture
def import_adapter(workspace: Workspace, write_curriculum: Callable[..., Path]) -> Callable[..., Run]:
    def run(folder: Path, *tasks: str, name: str = "second", mask: Path | None = None, **fields: Any) -> Run:
        spec = load_curriculum(write_curriculum(*tasks, **{"train": HARD, **fields}))
        return import_folder(workspace, folder, spec, name, mask, RunOptions(), SilentProgress())

    return run


def plain_lora(
    folder: Path, base: Path, *, pooler: bool = False, zero: str | None = None, **settings: Any
) -> Path:
    """Save a PEFT LoRA with random cells of B; B is zero in the part of the model named by `zero`."""
    torch.manual_seed(3)
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **settings})
    model = get_peft_model(AutoModel.from_pretrained(base, add_pooling_layer=pooler), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name and (zero is None or zero not in name):
            parameter.data.normal_(std=0.02)
    model.save_pretrained(folder)
    return folder


def test_imported_export_has_the_same_scores_and_cells(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    scores: Scores,
    import_adapter: Callable[..., Run],
) -> None:
    first = train_run("a", "b", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out")
    second = import_adapter(tmp_path / "out", "a", "b")
    assert scores("second")[1, "a", "as_trained"].outcomes == scores("run")[1, "a", "as_trained"].outcomes
    assert second.stages[0].mask is not None
    assert first.stages[0].mask is not None
    assert second.stages[0].mask.by_site == first.stages[0].mask.by_site
    assert (second.stages[0].mask.strategy, second.stages[0].steps) == ("imported", 0)


def test_training_later_tasks_does_not_change_imported_cells(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    scores: Scores,
    import_adapter: Callable[..., Run],
) -> None:
    train_run("a", "b", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out")
    import_adapter(tmp_path / "out", "a", "b")
    continued = train_run("a", "b", "c", name="second", train=HARD, options=RunOptions(measure_all=True))
    assert [stage.task for stage in continued.stages] == ["a", "b", "c"]
    found = scores("second")
    assert found[3, "a", "as_trained"].outcomes == found[1, "a", "as_trained"].outcomes
    before, after = (loaded(workspace, "second").update(0) for _ in range(2))
    original = loaded(workspace, "run").update(0)
    for site in before.b:
        assert torch.equal(before.b[site], original.b[site])
        assert torch.equal(before.a[site], original.a[site])
        assert torch.equal(before.b[site], after.b[site])


def updates_of(workspace: Workspace, name: str) -> Sequence[LoRAWeights]:
    run = loaded(workspace, name)
    return [run.update(position) for position in range(len(run.history))]


@pytest.mark.parametrize("composition", only_in_ci(["stacked"], ["stacked", "isolated"]))
def test_tasks_after_an_import_use_the_imported_projection_a(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    import_adapter: Callable[..., Run],
    composition: str,
) -> None:
    train_run("a", "b", train=HARD, seed=5)  # another seed, so that the second run would draw another A
    export(loaded(workspace, "run"), "a", tmp_path / "out")
    settings = {"adapter": {**PLAIN, "composition": composition}}
    import_adapter(tmp_path / "out", "a", "b", **settings)
    train_run("a", "b", "c", name="second", train=HARD, **settings)
    imported, *others = updates_of(workspace, "second")
    for other in others:
        for site in imported.a:
            assert torch.equal(other.a[site], imported.a[site])
    run = loaded(workspace, "second")
    assert len({stage.mask.projection for stage in run.run.stages if stage.mask}) == 1
    b = run.weights(run.acting("b"))
    assert all(torch.equal(b.a[site], imported.a[site]) for site in b.a)


@pytest.mark.nightly
def test_later_tasks_keep_the_imported_projection_a_after_its_task_is_retired(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path, import_adapter: Callable[..., Run]
) -> None:
    train_run("a", "b", train=HARD, seed=5)
    export(loaded(workspace, "run"), "a", tmp_path / "out")
    import_adapter(tmp_path / "out", "a", "b")
    train_run("a", "b", name="second", train=HARD)
    before = updates_of(workspace, "second")[1]
    retire_task(workspace, "second", "a", force=True)
    train_run("a", "b", "c", name="second", train=HARD)
    _, b, c = updates_of(workspace, "second")
    for site in before.a:
        assert torch.equal(b.a[site], before.a[site])
        assert torch.equal(b.b[site], before.b[site])
        assert torch.equal(c.a[site], before.a[site])


@pytest.mark.nightly
def test_run_draws_its_own_projection_a_if_its_only_imported_task_is_retired(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    scores: Scores,
    import_adapter: Callable[..., Run],
) -> None:
    train_run("a", "b", train=HARD, seed=5)
    export(loaded(workspace, "run"), "a", tmp_path / "out")
    import_adapter(tmp_path / "out", "a", "b")
    retire_task(workspace, "second", "a")
    every = RunOptions(measure_all=True)
    run = train_run("a", "b", name="second", train=HARD, options=every)
    imported, drawn = (stage.mask.projection for stage in run.stages if stage.mask)
    assert imported != drawn
    assert loaded(workspace, "second").run == run
    found = scores("second")
    assert found[2, "a", "as_trained"].outcomes == found[1, "a", "as_trained"].outcomes


@pytest.mark.nightly
def test_plain_lora_fills_every_cell_and_the_adapter_grows_for_the_next_task(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    import_adapter: Callable[..., Run],
) -> None:
    train_run("a", "b", name="for their data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder)
    growing_adapter = {**PLAIN, "grow": 2}
    run = import_adapter(folder, "a", "b", adapter=growing_adapter)
    assert run.stages[0].mask is not None
    assert run.stages[0].mask.cells == 448
    assert run.stages[0].steps > 0, "it had no head, so one was trained"
    continued = train_run("a", "b", name="second", adapter=growing_adapter, train=HARD)
    assert [stage.mask.rank for stage in continued.stages if stage.mask] == [4, 6]
    theirs = load_file(folder / "adapter_model.safetensors")
    ours = loaded(workspace, "second").update(0)
    for site, b in ours.b.items():
        assert torch.equal(b, theirs[f"base_model.model.{site}.lora_B.weight"])


def test_import_without_capacity_for_the_next_task_stores_nothing(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    import_adapter: Callable[..., Run],
) -> None:
    train_run("a", "b", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder)
    with pytest.raises(InputError, match=r"task 'b' needs 45 cells; 0 of 448 are free.*adapter\.grow"):
        import_adapter(folder, "a", "b")
    with workspace.read() as registry:
        assert [run.name for run in registry.runs()] == ["for-data"]


def test_published_mask_selects_the_cells_of_the_adapter(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path, import_adapter: Callable[..., Run]
) -> None:
    train_run("a", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out")
    adapter = read_external_adapter(tmp_path / "out")
    wide = {site: mask.clone() for site, mask in adapter.masks.items()}
    first = next(iter(wide))
    wide[first][~wide[first]] = True  # mask cells that training left at zero
    published_masks = {f"base_model.model.{site}.lora_B.default.weight": mask for site, mask in wide.items()}
    torch.save(published_masks, tmp_path / "0.9_mask.pt")
    run = import_adapter(tmp_path / "out", "a", mask=tmp_path / "0.9_mask.pt")
    assert run.stages[0].mask is not None
    assert run.stages[0].mask.by_site[first] == wide[first].numel()
    narrow = {name: torch.zeros_like(mask) for name, mask in published_masks.items()}
    torch.save(narrow, tmp_path / "narrow.pt")
    with pytest.raises(InputError, match=r"cells of .* outside the mask are not zero"):
        import_adapter(tmp_path / "out", "a", name="third", mask=tmp_path / "narrow.pt")


class TouchOnUnpickle:
    def __reduce__(self) -> tuple[Callable[[str], Path], tuple[str]]:
        return Path.touch, (Path("/tmp/lori-cl-was-here"),)  # type: ignore[return-value]


def test_a_pickle_is_read_weights_only(
    train_run: TrainRun, tmp_path: Path, tiny_encoder: Path, import_adapter: Callable[..., Run]
) -> None:
    train_run("a", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder)
    tensors = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(tensors, folder / "adapter_model.bin")
    assert import_adapter(folder, "a").stages[0].mask is not None
    torch.save({"x": TouchOnUnpickle()}, folder / "adapter_model.bin")
    with pytest.raises(InputError, match=r"adapter_model\.bin cannot be read: it contains more than tensors"):
        import_adapter(folder, "a", name="third")
    assert not Path("/tmp/lori-cl-was-here").exists()


@pytest.mark.parametrize(
    ("settings", "fields", "message"),
    [
        ({"r": 2}, {}, r"r = 2 and lora_alpha = 8.*adapter.rank: 4 and adapter.alpha: 8; set them"),
        ({"target_modules": ["query"]}, {}, r"changes 1 sites and adapter.targets selects 6.*\[query\]"),
        ({"use_dora": True}, {}, r"sets use_dora"),
        ({"bias": "all"}, {}, r"sets bias"),
        ({}, {"method": "sequential-lora", "masks": {}}, r"cannot import an adapter; set method: lori"),
    ],
    ids=["rank", "sites", "dora", "bias", "method"],
)
def test_incompatible_adapter_is_a_one_line_error_and_stores_nothing(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    import_adapter: Callable[..., Run],
    settings: dict[str, Any],
    fields: dict[str, Any],
    message: str,
) -> None:
    train_run("a", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder, **settings)
    with pytest.raises(InputError, match=message):
        import_adapter(folder, "a", **fields)
    with workspace.read() as registry:
        assert len(registry.runs()) == 1


@pytest.mark.parametrize("zero", ["pooler", None], ids=["untrained", "trained"])
def test_unused_pooler_is_dropped_and_logged(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    import_adapter: Callable[..., Run],
    caplog: pytest.LogCaptureFixture,
    zero: str | None,
) -> None:
    train_run("a", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder, pooler=True, zero=zero)
    run = import_adapter(folder, "a")
    assert run.stages[0].mask is not None
    assert run.stages[0].mask.cells == 448
    assert "ignored pooler.dense, which affects no output here" in caplog.text


def test_site_missing_from_the_base_model_is_dropped_only_if_its_b_is_zero(
    train_run: TrainRun, tmp_path: Path, tiny_encoder: Path, import_adapter: Callable[..., Run]
) -> None:
    train_run("a", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder)
    file = folder / "adapter_model.safetensors"
    extra = "base_model.model.encoder.layer.7.dense"
    unknown_site = {f"{extra}.lora_A.weight": torch.ones(4, 16), f"{extra}.lora_B.weight": torch.ones(16, 4)}
    valid = load_file(file)
    save_file(valid | unknown_site, file)
    with pytest.raises(InputError, match=r"changes encoder\.layer\.7\.dense, but .* no such layer \(1 of 7"):
        import_adapter(folder, "a")
    save_file(valid | unknown_site | {f"{extra}.lora_B.weight": torch.zeros(16, 4)}, file)
    assert import_adapter(folder, "a").stages[0].task == "a"


def test_adapter_of_only_the_pooler_is_refused(
    train_run: TrainRun, tmp_path: Path, tiny_encoder: Path, import_adapter: Callable[..., Run]
) -> None:
    train_run("a", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder, pooler=True, zero="encoder")
    with pytest.raises(InputError, match=r"changes only pooler\.dense, which affects no output here"):
        import_adapter(folder, "a")


def test_import_into_an_existing_run_is_refused(
    train_run: TrainRun, tmp_path: Path, tiny_encoder: Path, import_adapter: Callable[..., Run]
) -> None:
    train_run("a", name="second")
    with pytest.raises(RunConflict, match="'second' already has stages"):
        import_adapter(plain_lora(tmp_path / "lora", tiny_encoder), "a")


@pytest.mark.nightly
def test_interrupted_import_resumes(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    import_adapter: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train_run("a", "b", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder)
    uninterrupted = import_adapter(folder, "a", name="uninterrupted")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage_training, "stage_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        import_adapter(folder, "a", name="interrupted")
    monkeypatch.undo()
    interrupted = import_adapter(folder, "a", name="interrupted")
    assert [stage.mask for stage in interrupted.stages] == [stage.mask for stage in uninterrupted.stages]
    after, expected = loaded(workspace, "interrupted").update(0), loaded(workspace, "uninterrupted").update(0)
    assert all(torch.equal(after.b[site], expected.b[site]) for site in expected.b)
    assert all(torch.equal(after.a[site], expected.a[site]) for site in expected.a)


@pytest.mark.parametrize("projection", only_in_ci(["null-space"], ["shared", "per-task", "null-space"]))
def test_interrupted_run_is_resumed_only_by_the_command_that_started_it(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    import_adapter: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    projection: str,
) -> None:
    train_run("a", "b", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder)
    adapter = {**PLAIN, "projection": projection}

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage_training, "stage_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        import_adapter(folder, "a", name="imported", adapter=adapter)
    with pytest.raises(KeyboardInterrupt):
        train_run("a", name="trained", train=HARD, adapter=adapter)
    monkeypatch.undo()
    with workspace.read() as registry:
        adapter_digest = registry.run("imported").imported
    assert adapter_digest is not None
    message = f"started by lori-cl import of adapter {adapter_digest[:16]}…, which was interrupted"
    with pytest.raises(RunConflict, match=message + r" \(the adapter now: none\)"):
        train_run("a", name="imported", train=HARD, adapter=adapter)
    other = plain_lora(tmp_path / "other", tiny_encoder, zero="query")
    with pytest.raises(RunConflict, match=message):
        import_adapter(other, "a", name="imported", adapter=adapter)
    with pytest.raises(RunConflict, match="started by lori-cl run, which was interrupted"):
        import_adapter(folder, "a", name="trained", adapter=adapter)


def test_exported_adapter_of_another_base_model_is_refused(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path, import_adapter: Callable[..., Run]
) -> None:
    run = train_run("a", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out", verify=False)
    other = shutil.copytree(run.base_path, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    torch.manual_seed(0)
    save_file({name: t + torch.randn_like(t) for name, t in weights.items()}, other / "model.safetensors")
    with pytest.raises(InputError, match=r"trained on .* \(digest .*\), but the curriculum's base model has"):
        import_adapter(tmp_path / "out", "a", model={"path": str(other)})


def test_import_counts_the_filled_cells_and_not_the_budget_of_the_task(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path, import_adapter: Callable[..., Run]
) -> None:
    train_run("a", "b", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out", verify=False)
    run = import_adapter(tmp_path / "out", "a", "b", masks={"density": 0.55})
    assert run.stages[0].mask is not None
    assert run.stages[0].mask.cells == 45
    with pytest.raises(
        InputError, match=r"since the imported adapter uses 45. Set masks.density to at most 0.899, or"
    ):
        import_adapter(tmp_path / "out", "a", "b", name="third", masks={"density": 0.95})


def test_error_about_an_ambiguous_target_suggests_full_site_names(
    train_run: TrainRun, tmp_path: Path, tiny_encoder: Path, import_adapter: Callable[..., Run]
) -> None:
    train_run("a", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder, target_modules=["attention.output.dense"])
    site = "encoder.layer.0.attention.output.dense"
    with pytest.raises(InputError, match=r"Set adapter.targets: \[dense\]"):
        import_adapter(folder, "a")
    with pytest.raises(InputError, match=rf"Set adapter.targets: \[{site}\]"):
        import_adapter(folder, "a", adapter={**PLAIN, "targets": ["dense"]})
    run = import_adapter(folder, "a", adapter={**PLAIN, "targets": [site]})
    assert run.stages[0].mask is not None
    assert set(run.stages[0].mask.by_site) == {site}


def test_invalid_head_is_refused_before_the_run_starts(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path, write_curriculum: Callable[..., Path]
) -> None:
    train_run("a", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out", verify=False)
    head = tmp_path / "out" / "a.head.safetensors"
    valid = load_file(head)
    spec = load_curriculum(write_curriculum("a"))
    for invalid, message in (
        ({**valid, "more": torch.ones(1)}, "'more' is in only one of"),
        ({"weight": valid["weight"]}, "'bias' is in only one of"),
        ({**valid, "bias": torch.ones(3)}, r"'bias' is \(3,\) of torch.float32"),
        ({**valid, "bias": valid["bias"].half()}, r"'bias' is \(2,\) of torch.float16"),
        ({**valid, "bias": valid["bias"] * torch.nan}, "a value of 'bias' is not finite"),
    ):
        save_file(invalid, head)
        with pytest.raises(InputError, match=f"the adapter's head does not fit task 'a': {message}"):
            import_folder(workspace, tmp_path / "out", spec, "new", None, RunOptions(), SilentProgress())
    with workspace.read() as registry:
        assert registry.find_run("new") is None


@pytest.fixture
def make_other_workspace(tmp_path: Path, write_task: Callable[..., Path]) -> Callable[..., Workspace]:
    """Return a function that makes another workspace with the task `a` and other labels."""

    def make(*labels: str) -> Workspace:
        made = Workspace(tmp_path / "elsewhere")
        made.create()
        register_tasks(made, [write_task("a", labels)])
        return made

    return make


def test_head_rows_are_reordered_to_the_label_order_of_the_task(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    write_curriculum: Callable[..., Path],
    make_other_workspace: Callable[..., Workspace],
) -> None:
    train_run("a", train=HARD)
    run = loaded(workspace, "run")
    export(run, "a", tmp_path / "out", verify=False)
    other_workspace = make_other_workspace("blue", "red")
    spec = load_curriculum(write_curriculum("a"))
    import_folder(other_workspace, tmp_path / "out", spec, "new", None, RunOptions(), SilentProgress())
    with other_workspace.read() as registry:
        imported = load_run(other_workspace, registry, "new")
    ours, theirs = run.history[0].head, imported.history[0].head
    assert ours is not None
    assert theirs is not None
    assert (imported.eval_tasks[0].spec.labels, run.eval_tasks[0].spec.labels) == (
        ("blue", "red"),
        ("red", "blue"),
    )
    for name, rows in theirs.state_dict().items():
        assert torch.equal(rows, ours.state_dict()[name].flip(0))


def test_head_with_other_labels_is_refused_and_head_without_labels_is_imported(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    write_curriculum: Callable[..., Path],
    make_other_workspace: Callable[..., Workspace],
) -> None:
    train_run("a", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out", verify=False)
    other_workspace = make_other_workspace("red", "green")
    spec = load_curriculum(write_curriculum("a"))

    def import_adapter() -> Run:
        return import_folder(
            other_workspace, tmp_path / "out", spec, "new", None, RunOptions(), SilentProgress()
        )

    with pytest.raises(
        InputError, match=r"labels \['red', 'blue'\], but task 'a' has labels \['red', 'green'\]"
    ):
        import_adapter()
    head = tmp_path / "out" / "a.head.safetensors"
    save_file(load_file(head), head)
    assert import_adapter().stages[0].steps == 0


@pytest.mark.parametrize("label_given", ["a", "a@2"])
def test_head_is_found_for_every_spelling_of_the_task_label(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    write_task: Callable[..., Path],
    import_adapter: Callable[..., Run],
    label_given: str,
) -> None:
    register_tasks(workspace, [write_task("a", n=20)])
    train_run("a", train=HARD)
    (label,) = (each.label for each in loaded(workspace, "run").run.tasks)
    done = export(loaded(workspace, "run"), label_given, tmp_path / "out", verify=False)
    assert (done.tasks, done.heads) == ((label,), (f"{label}.head.safetensors",))
    assert import_adapter(tmp_path / "out", label_given).stages[0].steps == 0


@pytest.mark.nightly
def test_unused_heads_are_logged(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    import_adapter: Callable[..., Run],
    caplog: pytest.LogCaptureFixture,
) -> None:
    train_run("a", "b", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out", verify=False)
    run = import_adapter(tmp_path / "out", "b")
    assert run.stages[0].steps > 0
    assert (
        "contains a.head.safetensors but no b.head.safetensors: no head is imported for task 'b'"
        in caplog.text
    )


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "\0"])
def test_task_name_that_is_a_path_is_unknown(
    train_run: TrainRun,
    workspace: Workspace,
    tmp_path: Path,
    write_curriculum: Callable[..., Path],
    name: str,
) -> None:
    train_run("a", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out", verify=False)
    (tmp_path / "x.head.safetensors").write_bytes(b"never read")
    spec = load_curriculum(write_curriculum("a", tasks=[name]))
    with pytest.raises(UnknownTask):
        import_folder(workspace, tmp_path / "out", spec, "new", None, RunOptions(), SilentProgress())
