"""Tasks of real runs are merged into one PEFT folder, which is scored as plain PEFT loads it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModel, BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

from lori_cl.adapters import LoRAWeights, MergeSettings, read_weights
from lori_cl.errors import InputError, UnknownRun, UnknownTask
from lori_cl.evaluation import load_run
from lori_cl.registry import Evaluation, Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.serving.merge import MergeOutcome, merge_tasks
from lori_cl.serving.merge_request import MergeRequest
from lori_cl.serving.merge_table import merge_outcome_record, notes
from lori_cl.serving.retire import retire_task
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.tasks import SCORERS, from_jsonl
from lori_cl.training import RunOptions, run_curriculum

TrainRun = Callable[..., Run]
Merge = Callable[..., MergeOutcome]

ISOLATED = {"rank": 4, "alpha": 8, "composition": "isolated"}


@pytest.fixture
def train_run(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> TrainRun:
    def run(*tasks: str, name: str = "run", prompt: str | None = None, **fields: object) -> Run:
        task_fields = {"prompt": prompt} if prompt else {}
        register_tasks(workspace, [write_task(task, **task_fields) for task in tasks])
        spec = load_curriculum(write_curriculum(*tasks, **fields))
        return run_curriculum(workspace, spec, name, RunOptions(), SilentProgress())

    return run


@pytest.fixture
def merge(workspace: Workspace, tmp_path: Path) -> Merge:
    def run_merge(*tasks: str, run: str = "run", method: str = "cat", **fields: Any) -> MergeOutcome:
        request = MergeRequest(run=run, tasks=tasks, method=method, **{"out": tmp_path / "out", **fields})
        return merge_tasks(workspace, request, SilentProgress())

    return run_merge


def own_update(workspace: Workspace, run: str, task: str) -> LoRAWeights:
    """Return the update that the task's own stage trained."""
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, run)
    return loaded.weights([loaded.history[loaded.position(task)]])


def evaluations(workspace: Workspace, run: str = "run") -> dict[tuple[int, str, str], Evaluation]:
    with workspace.read() as registry:
        return {(e.stage, e.task, e.view): e for e in registry.evaluations(run)}


def loaded_from(folder: Path, base: Path) -> LoRAWeights:
    return read_weights(PeftModel.from_pretrained(AutoModel.from_pretrained(base), folder))


def assert_is_sum(merged: LoRAWeights, adapters: Sequence[LoRAWeights], weights: Sequence[float]) -> None:
    for site in adapters[0].a:
        expected = sum(w * each.delta(site) for w, each in zip(weights, adapters, strict=True))
        assert float(expected.abs().max()) > 0, site  # type: ignore[union-attr]
        torch.testing.assert_close(merged.delta(site), expected)


def test_merged_tasks_of_two_runs_are_the_weighted_sum_of_their_updates(
    train_run: TrainRun, merge: Merge, workspace: Workspace, tiny_encoder: Path
) -> None:
    train_run("a", "b", adapter=ISOLATED)
    train_run("c", name="other", seed=5, adapter={"rank": 2, "alpha": 8}, masks={"density": 0.5})
    outcome = merge("a", "b", "other:c", weights=[0.4, 0.4, 0.7])
    parts = [
        own_update(workspace, "run", "a"),
        own_update(workspace, "run", "b"),
        own_update(workspace, "other", "c"),
    ]
    assert_is_sum(loaded_from(outcome.request.out, tiny_encoder), parts, [0.4, 0.4, 0.7])
    assert outcome.rank == 4 + 2  # a and b share projection A
    assert notes(outcome) == []


@pytest.mark.usefixtures("two_tasks")
def test_merge_counts_each_cell_of_stacked_tasks_once(
    train_run: TrainRun, merge: Merge, workspace: Workspace, tiny_encoder: Path
) -> None:
    outcome = merge("a", "b", method="sum")
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, "run")
    both = loaded.weights(loaded.acting("b"))  # a's cells and b's
    merged = loaded_from(outcome.request.out, tiny_encoder)
    assert all(torch.equal(merged.delta(site), both.delta(site)) for site in both.a)
    assert notes(outcome)[0].startswith("b: its own cells were merged, without the earlier cells")


def test_merge_of_sequential_lora_uses_the_full_adapter_and_notes_it(
    train_run: TrainRun, merge: Merge, workspace: Workspace, tiny_encoder: Path
) -> None:
    train_run("a", "b", method="sequential-lora")
    outcome = merge("a", "b", method="average")
    merged = loaded_from(outcome.request.out, tiny_encoder)
    assert_is_sum(merged, [own_update(workspace, "run", "a"), own_update(workspace, "run", "b")], [0.5, 0.5])
    assert "b: its adapter contains the earlier tasks too" in notes(outcome)[0]


def test_task_trained_after_all_others_were_retired_has_no_stacking_note(
    train_run: TrainRun, merge: Merge, workspace: Workspace
) -> None:
    train_run("a")
    retire_task(workspace, "run", "a")
    train_run("a", "b")
    assert not any("trained on top of" in note for note in notes(merge("b")))


def test_merge_of_one_task_has_the_score_of_its_own_adapter(
    train_run: TrainRun, merge: Merge, workspace: Workspace
) -> None:
    """Cells, head and examples are equal, so any difference would be an error of the merge."""
    train_run("a", "b", adapter=ISOLATED, train={"epochs": 30, "batch_size": 8, "lr": 0.02, "max_length": 16})
    (score,) = merge("b", evaluate=True).scores
    recorded = evaluations(workspace)[2, "b", "as_trained"]
    assert (score.own, score.merged, score.metric) == (recorded.score, recorded.score, "accuracy")
    with workspace.read() as registry:
        (task,) = (task for task in registry.run("run").tasks if task.label == "b")
    examples = from_jsonl(workspace.artifacts.get(task.eval_set.digest, "jsonl"))
    distinct = len({example.text for example in examples})
    assert (score.test.n, score.test.worsened, score.test.improved) == (distinct, 0, 0)


def test_evaluation_shows_the_loss_of_a_merge_with_a_negative_weight(
    train_run: TrainRun, merge: Merge, workspace: Workspace
) -> None:
    train_run("a", "b", adapter=ISOLATED, train={"epochs": 30, "batch_size": 8, "lr": 0.02, "max_length": 16})
    outcome = merge("a", "b", weights=[1, -40], evaluate=True)
    score = outcome.scores[1]
    assert score.merged < score.own
    assert score.test.difference == pytest.approx(score.merged - score.own)
    record = merge_outcome_record(outcome)
    assert record["scores"][1]["p_value"] == score.test.p_value
    assert [part["weight"] for part in record["adapters"]] == [1, -40]


def test_missing_own_score_is_measured(train_run: TrainRun, merge: Merge, workspace: Workspace) -> None:
    train_run("a", "b", eval={"batch_size": 4, "views": ["current"]})
    assert (2, "a", "as_trained") not in evaluations(workspace)
    (score,) = merge("a", evaluate=True).scores
    assert score.own == evaluations(workspace)[1, "a", "current"].score


def test_merging_changes_nothing_in_the_workspace(
    train_run: TrainRun, merge: Merge, workspace: Workspace
) -> None:
    train_run("a", "b", eval={"batch_size": 4, "views": ["current"]})
    before = {file: file.read_bytes() for file in workspace.root.rglob("*") if file.is_file()}
    merge("a", "b", evaluate=True)
    assert {file: file.read_bytes() for file in workspace.root.rglob("*") if file.is_file()} == before


def test_truncated_merge_reports_its_error(train_run: TrainRun, merge: Merge) -> None:
    train_run("a", "b", adapter=ISOLATED)
    outcome = merge("a", "b", method="ties", settings=MergeSettings(on="delta", density=0.5, rank=2))
    assert outcome.rank == 2
    assert outcome.truncation_error is not None
    assert 0 < outcome.truncation_error < 1
    assert notes(outcome)[0] == (
        f"The merged ΔW was truncated to rank 2: relative Frobenius error {outcome.truncation_error:.2%}."
    )


def test_metadata_of_a_merge_names_the_base_model_and_every_adapter(
    train_run: TrainRun, merge: Merge
) -> None:
    run = train_run("a", "b", adapter=ISOLATED)
    outcome = merge("b", "a", method="dare", settings=MergeSettings(density=0.5, seed=3))
    with safe_open(outcome.request.out / "adapter_model.safetensors", "pt") as file:
        metadata = json.loads(file.metadata()["lori_cl"])
    assert metadata["base"] == {"path": run.base_path, "revision": None, "digest": run.base_digest}
    assert (metadata["merge"]["method"], metadata["merge"]["density"], metadata["merge"]["seed"]) == (
        "dare",
        0.5,
        3,
    )
    assert metadata["merge"]["adapters"] == [
        {"run": "run", "task": task, "weight": 1.0, "artifact": run.stages[position].artifact}
        for task, position in (("b", 1), ("a", 0))
    ]
    record = json.loads((outcome.request.out / "lori_cl.json").read_text())
    assert (record["base"], record["merge"]) == (metadata["base"], metadata["merge"])
    assert "adapter_model.safetensors" in record["files"]


@pytest.mark.usefixtures("two_tasks")
def test_merged_folder_contains_the_readable_heads_of_its_tasks(
    train_run: TrainRun, merge: Merge, workspace: Workspace
) -> None:
    train_run("a", name="other")
    outcome = merge("a", "other:a", "b")
    folder = outcome.request.out
    assert outcome.heads == ("run.a.head.safetensors", "other.a.head.safetensors", "b.head.safetensors")
    readme = (folder / "README.md").read_text()
    assert all(f"{folder}/{head}" in readme for head in outcome.heads)
    with workspace.read() as registry:
        run = load_run(workspace, registry, "run")
    for file, position in ((outcome.heads[0], 0), (outcome.heads[2], 1)):
        head = run.history[position].head
        assert head is not None
        written = load_file(folder / file)
        assert all(torch.equal(written[name], t) for name, t in head.state_dict().items())
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1


def test_error_about_runs_with_different_dtypes_names_both(
    train_run: TrainRun, merge: Merge, tiny_encoder: Path
) -> None:
    train_run("a")
    train_run("b", name="other", model={"path": str(tiny_encoder), "dtype": "bfloat16"})
    with pytest.raises(InputError, match=r"in float32 \(digest .* in bfloat16 \(digest"):
        merge("a", "other:b")


def test_run_on_another_base_model_is_refused_before_loading(
    train_run: TrainRun, merge: Merge, tiny_encoder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other-base"
    torch.manual_seed(1)
    BertModel(BertConfig.from_pretrained(tiny_encoder)).save_pretrained(other)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (other / file).write_bytes((tiny_encoder / file).read_bytes())
    first = train_run("a")
    second = train_run("b", name="other", model={"path": str(other)})
    (other / "model.safetensors").unlink()
    with pytest.raises(InputError) as refused:
        merge("a", "other:b")
    for text in (first.base_digest[:16], second.base_digest[:16], "cannot be merged"):
        assert text in str(refused.value)


@pytest.mark.parametrize(
    ("tasks", "fields", "error", "message"),
    [
        (["a", "run:a"], {}, InputError, "'a' is named twice"),
        (["topiv"], {}, UnknownTask, "run 'run' has not trained task 'topiv'. Trained tasks: a"),
        (["ruin:a"], {}, UnknownRun, "Did you mean 'run'?"),
        (["a"], {"weights": [1.0, 2.0]}, InputError, "1 adapters, but 2 weights"),
        (["a"], {"method": "tie"}, InputError, "Did you mean 'ties'?"),
        (["a"], {"method": "linear"}, InputError, "Did you mean 'linear-of-factors'?"),
        (["a"], {"method": "ties"}, InputError, "--density"),
        ([], {}, InputError, "at least one task"),
    ],
)
def test_invalid_merge_request_writes_nothing(
    train_run: TrainRun,
    merge: Merge,
    tmp_path: Path,
    tasks: Sequence[str],
    fields: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    train_run("a")
    with pytest.raises(error) as refused:
        merge(*tasks, **fields)
    assert message in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_merge_on_gpt2_is_scored_and_declares_fan_in_fan_out(
    train_run: TrainRun, merge: Merge, tiny_encoder: Path, tmp_path: Path
) -> None:
    base = tmp_path / "gpt2"
    shape = {"vocab_size": 15, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(**shape, eos_token_id=2, bos_token_id=2)).save_pretrained(base)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (base / file).write_bytes((tiny_encoder / file).read_bytes())
    train_run("a", prompt="{{ text }} is", model={"path": str(base)})
    outcome = merge("a", evaluate=True)
    assert outcome.scores[0].merged == outcome.scores[0].own
    config = json.loads((outcome.request.out / "adapter_config.json").read_text())
    assert config["fan_in_fan_out"] is True


def test_scoring_a_merge_runs_code_only_if_allowed(
    train_run: TrainRun, merge: Merge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    train_run("a")
    monkeypatch.setattr(type(SCORERS["accuracy"]), "runs_code", True)
    with pytest.raises(InputError, match="use --allow-code-execution to allow it"):
        merge("a", evaluate=True)
    assert not (tmp_path / "out").exists()
    assert merge("a").scores == []
    assert len(merge("a", out=tmp_path / "allowed", evaluate=True, allow_code_execution=True).scores) == 1


@pytest.mark.usefixtures("two_tasks")
def test_weights_that_overflow_float32_write_nothing(
    train_run: TrainRun, merge: Merge, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"1e\+39, 1, the adapter is too large for float32"):
        merge("a", "b", weights=[1e39, 1.0])
    assert not (tmp_path / "out").exists()


def test_merge_into_a_non_empty_folder_is_refused(train_run: TrainRun, merge: Merge) -> None:
    train_run("a")
    folder = merge("a").request.out
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(InputError, match="is not empty"):
        merge("a", weights=[2.0])
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
