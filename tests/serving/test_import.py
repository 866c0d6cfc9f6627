import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from lori_cl.adapters import LoRAWeights, read_foreign
from lori_cl.errors import InputError, RunConflict, UnknownTask
from lori_cl.registry import Run, Workspace
from lori_cl.serving.export import export
from lori_cl.serving.importing import import_folder
from lori_cl.serving.retire import retire_task
from lori_cl.spec import load_curriculum
from lori_cl.training import LoadedRun, RunOptions, SilentObserver, enrol, learning, load_run

Learn = Callable[..., Run]
Scores = Callable[..., dict]
HARD = {"epochs": 4, "batch_size": 4, "lr": 0.05, "max_length": 16}
PLAIN = {"rank": 4, "alpha": 8}


def loaded(workspace: Workspace, name: str) -> LoadedRun:
    with workspace.read() as registry:
        return load_run(workspace, registry, name)


@pytest.fixture
def bring(workspace: Workspace, write_curriculum: Callable[..., Path]) -> Callable[..., Run]:
    def run(folder: Path, *tasks: str, name: str = "second", mask: Path | None = None, **fields: Any) -> Run:
        spec = load_curriculum(write_curriculum(*tasks, **{"train": HARD, **fields}))
        return import_folder(workspace, folder, spec, name, mask, RunOptions(), SilentObserver())

    return run


def plain_lora(
    folder: Path, base: Path, *, pooler: bool = False, zero: str | None = None, **settings: Any
) -> Path:
    """A PEFT LoRA whose every cell of B is drawn, but for a part of the model where it is zero."""
    torch.manual_seed(3)
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **settings})
    model = get_peft_model(AutoModel.from_pretrained(base, add_pooling_layer=pooler), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name and (zero is None or zero not in name):
            parameter.data.normal_(std=0.02)
    model.save_pretrained(folder)
    return folder


def test_an_exported_task_comes_back_with_the_same_scores_and_cells(
    learn: Learn, workspace: Workspace, tmp_path: Path, scores: Scores, bring: Callable[..., Run]
) -> None:
    first = learn("a", "b", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out")
    second = bring(tmp_path / "out", "a", "b")
    assert scores("second")[1, "a", "as_trained"].outcomes == scores("run")[1, "a", "as_trained"].outcomes
    assert second.stages[0].mask is not None
    assert first.stages[0].mask is not None
    assert second.stages[0].mask.by_site == first.stages[0].mask.by_site
    assert (second.stages[0].mask.strategy, second.stages[0].steps) == ("imported", 0)


def test_later_tasks_are_learned_beside_the_imported_cells_which_never_change(
    learn: Learn, workspace: Workspace, tmp_path: Path, scores: Scores, bring: Callable[..., Run]
) -> None:
    learn("a", "b", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out")
    bring(tmp_path / "out", "a", "b")
    continued = learn("a", "b", "c", name="second", train=HARD, options=RunOptions(measure_all=True))
    assert [stage.task for stage in continued.stages] == ["a", "b", "c"]
    found = scores("second")
    assert found[3, "a", "as_trained"].outcomes == found[1, "a", "as_trained"].outcomes
    before, after = (loaded(workspace, "second").update(0) for _ in range(2))
    original = loaded(workspace, "run").update(0)
    for site in before.b:
        assert torch.equal(before.b[site], original.b[site])
        assert torch.equal(before.a[site], original.a[site])
        assert torch.equal(before.b[site], after.b[site])


def as_of(workspace: Workspace, name: str) -> Sequence[LoRAWeights]:
    run = loaded(workspace, name)
    return [run.update(position) for position in range(len(run.history))]


@pytest.mark.parametrize("composition", ["stacked", "isolated"])
def test_tasks_after_an_import_stand_on_the_a_it_brought_wherever_they_act(
    learn: Learn,
    workspace: Workspace,
    tmp_path: Path,
    bring: Callable[..., Run],
    composition: str,
) -> None:
    learn("a", "b", train=HARD, seed=5)  # so that the A is not the one that the second run draws
    export(loaded(workspace, "run"), "a", tmp_path / "out")
    settings = {"adapter": {**PLAIN, "composition": composition}}
    bring(tmp_path / "out", "a", "b", **settings)
    learn("a", "b", "c", name="second", train=HARD, **settings)
    brought, *others = as_of(workspace, "second")
    for other in others:
        for site in brought.a:
            assert torch.equal(other.a[site], brought.a[site])
    run = loaded(workspace, "second")
    assert len({stage.mask.projection for stage in run.run.stages if stage.mask}) == 1
    b = run.weights(run.acting("b"))
    assert all(torch.equal(b.a[site], brought.a[site]) for site in b.a)


def test_an_imported_task_is_retired_and_the_others_keep_the_a_it_brought(
    learn: Learn, workspace: Workspace, tmp_path: Path, bring: Callable[..., Run]
) -> None:
    learn("a", "b", train=HARD, seed=5)
    export(loaded(workspace, "run"), "a", tmp_path / "out")
    bring(tmp_path / "out", "a", "b")
    learn("a", "b", name="second", train=HARD)
    before = as_of(workspace, "second")[1]
    retire_task(workspace, "second", "a", force=True)
    learn("a", "b", "c", name="second", train=HARD)
    _, b, c = as_of(workspace, "second")
    for site in before.a:
        assert torch.equal(b.a[site], before.a[site])
        assert torch.equal(b.b[site], before.b[site])
        assert torch.equal(c.a[site], before.a[site])


def test_after_an_imported_task_that_was_retired_alone_a_run_goes_on_under_an_a_of_its_own(
    learn: Learn, workspace: Workspace, tmp_path: Path, scores: Scores, bring: Callable[..., Run]
) -> None:
    learn("a", "b", train=HARD, seed=5)
    export(loaded(workspace, "run"), "a", tmp_path / "out")
    bring(tmp_path / "out", "a", "b")
    retire_task(workspace, "second", "a")
    every = RunOptions(measure_all=True)
    run = learn("a", "b", name="second", train=HARD, options=every)
    brought, drawn = (stage.mask.projection for stage in run.stages if stage.mask)
    assert brought != drawn
    assert loaded(workspace, "second").run == run
    found = scores("second")
    assert found[2, "a", "as_trained"].outcomes == found[1, "a", "as_trained"].outcomes


def test_a_plain_lora_fills_every_cell_and_the_adapter_grows_for_the_next_task(
    learn: Learn, workspace: Workspace, tmp_path: Path, tiny_encoder: Path, bring: Callable[..., Run]
) -> None:
    learn("a", "b", name="for their data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder)
    grows = {**PLAIN, "grow": 2}
    run = bring(folder, "a", "b", adapter=grows)
    assert run.stages[0].mask is not None
    assert run.stages[0].mask.cells == 448
    assert run.stages[0].steps > 0, "it had no head, so one was trained"
    continued = learn("a", "b", name="second", adapter=grows, train=HARD)
    assert [stage.mask.rank for stage in continued.stages if stage.mask] == [4, 6]
    theirs = load_file(folder / "adapter_model.safetensors")
    ours = loaded(workspace, "second").update(0)
    for site, b in ours.b.items():
        assert torch.equal(b, theirs[f"base_model.model.{site}.lora_B.weight"])


def test_without_room_for_the_next_task_nothing_is_stored(
    learn: Learn, workspace: Workspace, tmp_path: Path, tiny_encoder: Path, bring: Callable[..., Run]
) -> None:
    learn("a", "b", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder)
    with pytest.raises(InputError, match=r"task 'b' asks for 45 cells; 0 of 448 are free.*adapter\.grow"):
        bring(folder, "a", "b")
    with workspace.read() as registry:
        assert [run.name for run in registry.runs()] == ["for-data"]


def test_a_published_mask_says_which_cells_are_the_adapters(
    learn: Learn, workspace: Workspace, tmp_path: Path, bring: Callable[..., Run]
) -> None:
    learn("a", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out")
    adapter = read_foreign(tmp_path / "out")
    wide = {site: mask.clone() for site, mask in adapter.masks.items()}
    first = next(iter(wide))
    wide[first][~wide[first]] = True  # cells of the mask that training left at zero
    published = {f"base_model.model.{site}.lora_B.default.weight": mask for site, mask in wide.items()}
    torch.save(published, tmp_path / "0.9_mask.pt")
    run = bring(tmp_path / "out", "a", mask=tmp_path / "0.9_mask.pt")
    assert run.stages[0].mask is not None
    assert run.stages[0].mask.by_site[first] == wide[first].numel()
    narrow = {name: torch.zeros_like(mask) for name, mask in published.items()}
    torch.save(narrow, tmp_path / "narrow.pt")
    with pytest.raises(InputError, match=r"cells of .* outside the mask are not zero"):
        bring(tmp_path / "out", "a", name="third", mask=tmp_path / "narrow.pt")


class Danger:
    def __reduce__(self) -> tuple[Callable[[str], Path], tuple[str]]:
        return Path.touch, (Path("/tmp/lori-cl-was-here"),)  # type: ignore[return-value]


def test_a_pickle_is_read_weights_only(
    learn: Learn, tmp_path: Path, tiny_encoder: Path, bring: Callable[..., Run]
) -> None:
    learn("a", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder)
    tensors = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(tensors, folder / "adapter_model.bin")
    assert bring(folder, "a").stages[0].mask is not None
    torch.save({"x": Danger()}, folder / "adapter_model.bin")
    with pytest.raises(
        InputError, match=r"adapter_model\.bin cannot be read: it holds something else than tensors"
    ):
        bring(folder, "a", name="third")
    assert not Path("/tmp/lori-cl-was-here").exists()


@pytest.mark.parametrize(
    ("settings", "fields", "said"),
    [
        ({"r": 2}, {}, r"r = 2 and lora_alpha = 8.*adapter.rank: 4 and adapter.alpha: 8; set them"),
        ({"target_modules": ["query"]}, {}, r"changes 1 sites and adapter.targets names 6.*\[query\]"),
        ({"use_dora": True}, {}, r"sets use_dora"),
        ({"bias": "all"}, {}, r"sets bias"),
        ({}, {"method": "sequential-lora", "masks": {}}, r"cannot take over an adapter; set method: lori"),
    ],
    ids=["rank", "sites", "dora", "bias", "method"],
)
def test_what_does_not_fit_is_said_in_one_line_and_nothing_is_stored(
    learn: Learn,
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    bring: Callable[..., Run],
    settings: dict[str, Any],
    fields: dict[str, Any],
    said: str,
) -> None:
    learn("a", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder, **settings)
    with pytest.raises(InputError, match=said):
        bring(folder, "a", **fields)
    with workspace.read() as registry:
        assert len(registry.runs()) == 1


@pytest.mark.parametrize("zero", ["pooler", None], ids=["untrained", "trained"])
def test_a_pooler_that_nothing_reads_is_left_out_and_named(
    learn: Learn,
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    bring: Callable[..., Run],
    caplog: pytest.LogCaptureFixture,
    zero: str | None,
) -> None:
    learn("a", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder, pooler=True, zero=zero)
    run = bring(folder, "a")
    assert run.stages[0].mask is not None
    assert run.stages[0].mask.cells == 448
    assert "left out pooler.dense, which changes no answer here" in caplog.text


def test_a_site_that_is_nowhere_in_the_base_model_is_left_out_or_named_as_its_b_is_zero_or_not(
    learn: Learn, tmp_path: Path, tiny_encoder: Path, bring: Callable[..., Run]
) -> None:
    learn("a", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder)
    file = folder / "adapter_model.safetensors"
    more = "base_model.model.encoder.layer.7.dense"
    odd = {f"{more}.lora_A.weight": torch.ones(4, 16), f"{more}.lora_B.weight": torch.ones(16, 4)}
    sound = load_file(file)
    save_file(sound | odd, file)
    with pytest.raises(InputError, match=r"changes encoder\.layer\.7\.dense, and .* no such layer \(1 of 7"):
        bring(folder, "a")
    save_file(sound | odd | {f"{more}.lora_B.weight": torch.zeros(16, 4)}, file)
    assert bring(folder, "a").stages[0].task == "a"


def test_an_adapter_of_the_pooler_alone_does_nothing_here(
    learn: Learn, tmp_path: Path, tiny_encoder: Path, bring: Callable[..., Run]
) -> None:
    learn("a", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder, pooler=True, zero="encoder")
    with pytest.raises(InputError, match=r"changes pooler\.dense alone, which changes no answer here"):
        bring(folder, "a")


def test_an_import_begins_a_run_and_never_goes_on_with_one(
    learn: Learn, tmp_path: Path, tiny_encoder: Path, bring: Callable[..., Run]
) -> None:
    learn("a", name="second")
    with pytest.raises(RunConflict, match="'second' is there already"):
        bring(plain_lora(tmp_path / "lora", tiny_encoder), "a")


def test_an_import_that_broke_off_goes_on(
    learn: Learn,
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    bring: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learn("a", "b", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder)
    whole = bring(folder, "a", name="whole")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "stage_bytes", die)
    with pytest.raises(KeyboardInterrupt):
        bring(folder, "a", name="broken")
    monkeypatch.undo()
    broken = bring(folder, "a", name="broken")
    assert [stage.mask for stage in broken.stages] == [stage.mask for stage in whole.stages]
    after, wanted = loaded(workspace, "broken").update(0), loaded(workspace, "whole").update(0)
    assert all(torch.equal(after.b[site], wanted.b[site]) for site in wanted.b)
    assert all(torch.equal(after.a[site], wanted.a[site]) for site in wanted.a)


@pytest.mark.parametrize("projection", ["shared", "per-task", "null-space"])
def test_what_broke_off_is_gone_on_with_by_what_began_it(
    learn: Learn,
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    bring: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    projection: str,
) -> None:
    learn("a", "b", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder)
    adapter = {**PLAIN, "projection": projection}

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "stage_bytes", die)
    with pytest.raises(KeyboardInterrupt):
        bring(folder, "a", name="imported", adapter=adapter)
    with pytest.raises(KeyboardInterrupt):
        learn("a", name="trained", train=HARD, adapter=adapter)
    monkeypatch.undo()
    with workspace.read() as registry:
        begun_with = registry.run("imported").imported
    assert begun_with is not None
    by_import = f"begun by lori-cl import of adapter {begun_with[:16]}…, which broke off"
    with pytest.raises(RunConflict, match=by_import + r" \(the adapter now: none\)"):
        learn("a", name="imported", train=HARD, adapter=adapter)
    other = plain_lora(tmp_path / "other", tiny_encoder, zero="query")
    with pytest.raises(RunConflict, match=by_import):
        bring(other, "a", name="imported", adapter=adapter)
    with pytest.raises(RunConflict, match="begun by lori-cl run, which broke off"):
        bring(folder, "a", name="trained", adapter=adapter)


def test_an_adapter_of_another_base_model_is_refused_where_lori_cl_wrote_it(
    learn: Learn, workspace: Workspace, tmp_path: Path, bring: Callable[..., Run]
) -> None:
    run = learn("a", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out", verify=False)
    other = shutil.copytree(run.base_path, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    torch.manual_seed(0)
    save_file({name: t + torch.randn_like(t) for name, t in weights.items()}, other / "model.safetensors")
    with pytest.raises(InputError, match=r"trained on .* \(digest .*\) and the curriculum's base model has"):
        bring(tmp_path / "out", "a", model={"path": str(other)})


def test_an_import_counts_the_cells_that_the_adapter_fills_and_not_its_tasks_budget(
    learn: Learn, workspace: Workspace, tmp_path: Path, bring: Callable[..., Run]
) -> None:
    learn("a", "b", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out", verify=False)
    run = bring(tmp_path / "out", "a", "b", masks={"density": 0.55})
    assert run.stages[0].mask is not None
    assert run.stages[0].mask.cells == 45
    with pytest.raises(InputError, match=r"since the adapter fills 45. Set masks.density at most 0.899, or"):
        bring(tmp_path / "out", "a", "b", name="third", masks={"density": 0.95})


def test_an_adapter_whose_layers_share_a_name_with_others_is_told_to_name_its_sites_in_full(
    learn: Learn, tmp_path: Path, tiny_encoder: Path, bring: Callable[..., Run]
) -> None:
    learn("a", name="for-data")
    folder = plain_lora(tmp_path / "lora", tiny_encoder, target_modules=["attention.output.dense"])
    site = "encoder.layer.0.attention.output.dense"
    with pytest.raises(InputError, match=r"Set adapter.targets: \[dense\]"):
        bring(folder, "a")
    with pytest.raises(InputError, match=rf"Set adapter.targets: \[{site}\]"):
        bring(folder, "a", adapter={**PLAIN, "targets": ["dense"]})
    run = bring(folder, "a", adapter={**PLAIN, "targets": [site]})
    assert run.stages[0].mask is not None
    assert set(run.stages[0].mask.by_site) == {site}


def test_a_head_that_is_none_for_the_task_is_refused_before_a_run_begins(
    learn: Learn, workspace: Workspace, tmp_path: Path, write_curriculum: Callable[..., Path]
) -> None:
    learn("a", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out", verify=False)
    head = tmp_path / "out" / "a.head.safetensors"
    sound = load_file(head)
    spec = load_curriculum(write_curriculum("a"))
    for odd, said in (
        ({**sound, "more": torch.ones(1)}, "'more' is in one of"),
        ({"weight": sound["weight"]}, "'bias' is in one of"),
        ({**sound, "bias": torch.ones(3)}, r"'bias' is \(3,\) of torch.float32"),
        ({**sound, "bias": sound["bias"].half()}, r"'bias' is \(2,\) of torch.float16"),
        ({**sound, "bias": sound["bias"] * torch.nan}, "a number of 'bias' is not finite"),
    ):
        save_file(odd, head)
        with pytest.raises(InputError, match=f"the adapter's head is none for task 'a': {said}"):
            import_folder(workspace, tmp_path / "out", spec, "new", None, RunOptions(), SilentObserver())
    with workspace.read() as registry:
        assert registry.find_run("new") is None


@pytest.fixture
def elsewhere(tmp_path: Path, write_task: Callable[..., Path]) -> Callable[..., Workspace]:
    """Another workspace that knows the task `a` with other labels."""

    def make(*labels: str) -> Workspace:
        made = Workspace(tmp_path / "elsewhere")
        made.create()
        enrol(made, [write_task("a", labels)])
        return made

    return make


def test_a_head_whose_labels_stand_in_another_order_answers_the_same(
    learn: Learn,
    workspace: Workspace,
    tmp_path: Path,
    write_curriculum: Callable[..., Path],
    elsewhere: Callable[..., Workspace],
) -> None:
    learn("a", train=HARD)
    run = loaded(workspace, "run")
    export(run, "a", tmp_path / "out", verify=False)
    there = elsewhere("blue", "red")
    spec = load_curriculum(write_curriculum("a"))
    import_folder(there, tmp_path / "out", spec, "new", None, RunOptions(), SilentObserver())
    with there.read() as registry:
        brought = load_run(there, registry, "new")
    ours, theirs = run.history[0].head, brought.history[0].head
    assert ours is not None
    assert theirs is not None
    assert (brought.questions[0].spec.labels, run.questions[0].spec.labels) == (
        ("blue", "red"),
        ("red", "blue"),
    )
    for name, rows in theirs.state_dict().items():
        assert torch.equal(rows, ours.state_dict()[name].flip(0))


def test_a_head_of_other_labels_is_refused_and_one_that_names_none_is_taken(
    learn: Learn,
    workspace: Workspace,
    tmp_path: Path,
    write_curriculum: Callable[..., Path],
    elsewhere: Callable[..., Workspace],
) -> None:
    learn("a", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out", verify=False)
    there = elsewhere("red", "green")
    spec = load_curriculum(write_curriculum("a"))

    def bring() -> Run:
        return import_folder(there, tmp_path / "out", spec, "new", None, RunOptions(), SilentObserver())

    with pytest.raises(InputError, match=r"labels \['red', 'blue'\] and task 'a' has \['red', 'green'\]"):
        bring()
    head = tmp_path / "out" / "a.head.safetensors"
    save_file(load_file(head), head)
    assert bring().stages[0].steps == 0


@pytest.mark.parametrize("spelled", ["a", "a@2"])
def test_a_head_is_found_however_its_task_is_spelled(
    learn: Learn,
    workspace: Workspace,
    tmp_path: Path,
    write_task: Callable[..., Path],
    bring: Callable[..., Run],
    spelled: str,
) -> None:
    enrol(workspace, [write_task("a", n=20)])
    learn("a", train=HARD)
    (label,) = (each.label for each in loaded(workspace, "run").run.tasks)
    done = export(loaded(workspace, "run"), spelled, tmp_path / "out", verify=False)
    assert (done.tasks, done.heads) == ((label,), (f"{label}.head.safetensors",))
    assert bring(tmp_path / "out", spelled).stages[0].steps == 0


def test_heads_of_which_none_is_taken_are_named(
    learn: Learn,
    workspace: Workspace,
    tmp_path: Path,
    bring: Callable[..., Run],
    caplog: pytest.LogCaptureFixture,
) -> None:
    learn("a", "b", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out", verify=False)
    run = bring(tmp_path / "out", "b")
    assert run.stages[0].steps > 0
    assert "holds a.head.safetensors and no b.head.safetensors: task 'b' takes no head over" in caplog.text


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "\0"])
def test_a_task_that_is_a_path_is_no_task_to_import_for(
    learn: Learn, workspace: Workspace, tmp_path: Path, write_curriculum: Callable[..., Path], name: str
) -> None:
    learn("a", train=HARD)
    export(loaded(workspace, "run"), "a", tmp_path / "out", verify=False)
    (tmp_path / "x.head.safetensors").write_bytes(b"never read")
    spec = load_curriculum(write_curriculum("a", tasks=[name]))
    with pytest.raises(UnknownTask):
        import_folder(workspace, tmp_path / "out", spec, "new", None, RunOptions(), SilentObserver())
