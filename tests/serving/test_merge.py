"""Tasks of real runs become one PEFT folder, and the folder is scored as anybody would load it."""

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
from lori_cl.registry import Evaluation, Run, Workspace
from lori_cl.serving.merge import MergeOutcome, merge_tasks
from lori_cl.serving.merge_request import MergeRequest
from lori_cl.serving.merge_table import merge_outcome_record, notes
from lori_cl.serving.retire import retire_task
from lori_cl.spec import load_curriculum
from lori_cl.tasks import SCORERS, from_jsonl
from lori_cl.training import RunOptions, SilentObserver, enrol, load_run, run_curriculum

Learn = Callable[..., Run]
Merge = Callable[..., MergeOutcome]

ISOLATED = {"rank": 4, "alpha": 8, "composition": "isolated"}


@pytest.fixture
def learn(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> Learn:
    def run(*tasks: str, name: str = "run", prompt: str | None = None, **fields: object) -> Run:
        asked = {"prompt": prompt} if prompt else {}
        enrol(workspace, [write_task(task, **asked) for task in tasks])
        spec = load_curriculum(write_curriculum(*tasks, **fields))
        return run_curriculum(workspace, spec, name, RunOptions(), SilentObserver())

    return run


@pytest.fixture
def merge(workspace: Workspace, tmp_path: Path) -> Merge:
    def ask(*tasks: str, run: str = "run", method: str = "cat", **fields: Any) -> MergeOutcome:
        request = MergeRequest(run=run, tasks=tasks, method=method, **{"out": tmp_path / "out", **fields})
        return merge_tasks(workspace, request, SilentObserver())

    return ask


def own(workspace: Workspace, run: str, task: str) -> LoRAWeights:
    """What a task's own stage trained."""
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, run)
    return loaded.weights([loaded.history[loaded.position(task)].learned])


def evaluations(workspace: Workspace, run: str = "run") -> dict[tuple[int, str, str], Evaluation]:
    with workspace.read() as registry:
        return {(e.stage, e.task, e.view): e for e in registry.evaluations(run)}


def loaded_from(folder: Path, base: Path) -> LoRAWeights:
    return read_weights(PeftModel.from_pretrained(AutoModel.from_pretrained(base), folder))


def assert_is_sum(merged: LoRAWeights, adapters: Sequence[LoRAWeights], weights: Sequence[float]) -> None:
    for site in adapters[0].a:
        wanted = sum(w * each.delta(site) for w, each in zip(weights, adapters, strict=True))
        assert float(wanted.abs().max()) > 0, site  # type: ignore[union-attr]
        torch.testing.assert_close(merged.delta(site), wanted)


def test_tasks_of_two_runs_load_with_peft_as_the_weighted_sum_of_their_own_updates(
    learn: Learn, merge: Merge, workspace: Workspace, tiny_encoder: Path
) -> None:
    learn("a", "b", adapter=ISOLATED)
    learn("c", name="other", seed=5, adapter={"rank": 2, "alpha": 8}, masks={"density": 0.5})
    outcome = merge("a", "b", "other:c", weights=[0.4, 0.4, 0.7])
    parts = [own(workspace, "run", "a"), own(workspace, "run", "b"), own(workspace, "other", "c")]
    assert_is_sum(loaded_from(outcome.request.out, tiny_encoder), parts, [0.4, 0.4, 0.7])
    assert outcome.rank == 4 + 2  # a and b share their A's
    assert notes(outcome) == []


def test_of_stacked_tasks_each_cell_counts_once(
    learn: Learn, merge: Merge, workspace: Workspace, tiny_encoder: Path
) -> None:
    learn("a", "b")
    outcome = merge("a", "b", method="sum")
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, "run")
    both = loaded.weights(loaded.acting("b"))  # a's cells and b's
    merged = loaded_from(outcome.request.out, tiny_encoder)
    assert all(torch.equal(merged.delta(site), both.delta(site)) for site in both.a)
    assert notes(outcome)[0].startswith("b: its own cells alone were merged")


def test_a_task_of_sequential_lora_has_its_whole_adapter_and_the_outcome_says_so(
    learn: Learn, merge: Merge, workspace: Workspace, tiny_encoder: Path
) -> None:
    learn("a", "b", method="sequential-lora")
    outcome = merge("a", "b", method="average")
    merged = loaded_from(outcome.request.out, tiny_encoder)
    assert_is_sum(merged, [own(workspace, "run", "a"), own(workspace, "run", "b")], [0.5, 0.5])
    assert "b: its adapter holds the tasks before it too" in notes(outcome)[0]


def test_a_task_that_was_learned_after_the_others_were_retired_stands_alone(
    learn: Learn, merge: Merge, workspace: Workspace
) -> None:
    learn("a")
    retire_task(workspace, "run", "a")
    learn("a", "b")
    assert not any("trained on top of" in note for note in notes(merge("b")))


def test_one_task_merged_alone_scores_as_its_own_adapter_did(
    learn: Learn, merge: Merge, workspace: Workspace
) -> None:
    """The same cells, the same head, the same examples: what differs would be the merge's fault."""
    learn("a", "b", adapter=ISOLATED, train={"epochs": 30, "batch_size": 8, "lr": 0.02, "max_length": 16})
    (score,) = merge("b", evaluate=True).scores
    recorded = evaluations(workspace)[2, "b", "as_trained"]
    assert (score.own, score.merged, score.metric) == (recorded.score, recorded.score, "accuracy")
    with workspace.read() as registry:
        (task,) = (task for task in registry.run("run").tasks if task.label == "b")
    examples = from_jsonl(workspace.artifacts.get(task.eval_set.digest, "jsonl"))
    distinct = len({example.text for example in examples})
    assert (score.test.n, score.test.worsened, score.test.improved) == (distinct, 0, 0)


def test_a_merge_that_turns_an_adapter_around_is_seen_to_lose(
    learn: Learn, merge: Merge, workspace: Workspace
) -> None:
    learn("a", "b", adapter=ISOLATED, train={"epochs": 30, "batch_size": 8, "lr": 0.02, "max_length": 16})
    outcome = merge("a", "b", weights=[1, -40], evaluate=True)
    lost = outcome.scores[1]
    assert lost.merged < lost.own
    assert lost.test.difference == pytest.approx(lost.merged - lost.own)
    record = merge_outcome_record(outcome)
    assert record["scores"][1]["p_value"] == lost.test.p_value
    assert [part["weight"] for part in record["adapters"]] == [1, -40]


def test_an_own_score_that_nobody_took_is_measured(learn: Learn, merge: Merge, workspace: Workspace) -> None:
    learn("a", "b", eval={"batch_size": 4, "views": ["current"]})
    assert (2, "a", "as_trained") not in evaluations(workspace)
    (score,) = merge("a", evaluate=True).scores
    assert score.own == evaluations(workspace)[1, "a", "current"].score


def test_merging_changes_nothing_in_the_workspace(learn: Learn, merge: Merge, workspace: Workspace) -> None:
    learn("a", "b", eval={"batch_size": 4, "views": ["current"]})
    before = {file: file.read_bytes() for file in workspace.root.rglob("*") if file.is_file()}
    merge("a", "b", evaluate=True)
    assert {file: file.read_bytes() for file in workspace.root.rglob("*") if file.is_file()} == before


def test_a_cut_update_says_how_much_it_lost(learn: Learn, merge: Merge) -> None:
    learn("a", "b", adapter=ISOLATED)
    outcome = merge("a", "b", method="ties", settings=MergeSettings(on="delta", density=0.5, rank=2))
    assert outcome.rank == 2
    assert outcome.truncation_error is not None
    assert 0 < outcome.truncation_error < 1
    assert notes(outcome)[0] == (
        f"The merged ΔW was cut to rank 2: relative Frobenius error {outcome.truncation_error:.2%}."
    )


def test_the_folder_names_its_base_and_every_adapter_in_it(learn: Learn, merge: Merge) -> None:
    run = learn("a", "b", adapter=ISOLATED)
    outcome = merge("b", "a", method="dare", settings=MergeSettings(density=0.5, seed=3))
    with safe_open(outcome.request.out / "adapter_model.safetensors", "pt") as file:
        told = json.loads(file.metadata()["lori_cl"])
    assert told["base"] == {"path": run.base_path, "revision": None, "digest": run.base_digest}
    assert (told["merge"]["method"], told["merge"]["density"], told["merge"]["seed"]) == ("dare", 0.5, 3)
    assert told["merge"]["adapters"] == [
        {"run": "run", "task": task, "weight": 1.0, "artifact": run.stages[position].artifact}
        for task, position in (("b", 1), ("a", 0))
    ]


def test_a_merged_folder_holds_the_heads_of_its_tasks_for_everybody_who_may_read_it(
    learn: Learn, merge: Merge, workspace: Workspace
) -> None:
    learn("a", "b")
    learn("a", name="other")
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


def test_runs_that_hold_one_model_in_two_dtypes_are_told_so(
    learn: Learn, merge: Merge, tiny_encoder: Path
) -> None:
    learn("a")
    learn("b", name="other", model={"path": str(tiny_encoder), "dtype": "bfloat16"})
    with pytest.raises(InputError, match=r"in float32 \(digest .* in bfloat16 \(digest"):
        merge("a", "other:b")


def test_a_run_on_another_base_model_is_refused_before_anything_is_loaded(
    learn: Learn, merge: Merge, tiny_encoder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other-base"
    torch.manual_seed(1)
    BertModel(BertConfig.from_pretrained(tiny_encoder)).save_pretrained(other)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (other / file).write_bytes((tiny_encoder / file).read_bytes())
    first = learn("a")
    second = learn("b", name="other", model={"path": str(other)})
    (other / "model.safetensors").unlink()
    with pytest.raises(InputError) as refused:
        merge("a", "other:b")
    for told in (first.base_digest[:16], second.base_digest[:16], "cannot be merged"):
        assert told in str(refused.value)


@pytest.mark.parametrize(
    ("tasks", "fields", "error", "says"),
    [
        (["a", "run:a"], {}, InputError, "'a' is named twice"),
        (["topiv"], {}, UnknownTask, "run 'run' has not learned 'topiv'. There are: a"),
        (["ruin:a"], {}, UnknownRun, "Did you mean 'run'?"),
        (["a"], {"weights": [1.0, 2.0]}, InputError, "1 adapters and 2 weights"),
        (["a"], {"method": "tie"}, InputError, "Did you mean 'ties'?"),
        (["a"], {"method": "linear"}, InputError, "Did you mean 'linear-of-factors'?"),
        (["a"], {"method": "ties"}, InputError, "--density"),
        ([], {}, InputError, "at least one task"),
    ],
)
def test_a_request_that_cannot_be_met_writes_nothing(
    learn: Learn,
    merge: Merge,
    tmp_path: Path,
    tasks: Sequence[str],
    fields: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    learn("a")
    with pytest.raises(error) as refused:
        merge(*tasks, **fields)
    assert says in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_merge_for_causal_tasks_on_gpt2_is_scored_and_says_how_its_weights_stand(
    learn: Learn, merge: Merge, tiny_encoder: Path, tmp_path: Path
) -> None:
    base = tmp_path / "gpt2"
    shape = {"vocab_size": 15, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(**shape, eos_token_id=2, bos_token_id=2)).save_pretrained(base)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (base / file).write_bytes((tiny_encoder / file).read_bytes())
    learn("a", prompt="{{ text }} is", model={"path": str(base)})
    outcome = merge("a", evaluate=True)
    assert outcome.scores[0].merged == outcome.scores[0].own
    config = json.loads((outcome.request.out / "adapter_config.json").read_text())
    assert config["fan_in_fan_out"] is True


def test_scoring_runs_no_code_that_was_not_allowed(
    learn: Learn, merge: Merge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    learn("a")
    monkeypatch.setattr(type(SCORERS["accuracy"]), "runs_code", True)
    with pytest.raises(InputError, match="only with --allow-code-execution"):
        merge("a", evaluate=True)
    assert not (tmp_path / "out").exists()
    assert merge("a").scores == []
    assert len(merge("a", out=tmp_path / "allowed", evaluate=True, allow_code_execution=True).scores) == 1


def test_weights_that_no_float32_holds_write_nothing(learn: Learn, merge: Merge, tmp_path: Path) -> None:
    learn("a", "b")
    with pytest.raises(InputError, match=r"1e\+39, 1, the adapter is too large for float32"):
        merge("a", "b", weights=[1e39, 1.0])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_in_use_is_refused(learn: Learn, merge: Merge) -> None:
    learn("a")
    folder = merge("a").request.out
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(InputError, match="is not empty"):
        merge("a", weights=[2.0])
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
