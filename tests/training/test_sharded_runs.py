"""Runs whose base model is sharded over two processes with FSDP2."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import lori_cl as cl
from lori_cl.errors import ModelError
from lori_cl.evaluation.stage_file import read_stage
from lori_cl.models import sharded_base
from lori_cl.models.location import ModelLocation
from lori_cl.registry import Evaluation, Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.runtime.sharding import Sharding
from lori_cl.spec import CurriculumSpec, ModelSpec
from lori_cl.training import RunOptions, run_curriculum
from tests.launched import FSDP, PYTHON, ROOT, two_processes
from tests.preloaded import PreloadedProcess
from tests.tiny import make_causal_lm, make_encoder, tiny_curriculum
from tests.training.test_encoder_decoder_runs import rows

TRAIN = {"epochs": 2, "lr": 0.01, "max_length": 16}
ALONE, HALF = {**TRAIN, "batch_size": 8}, {**TRAIN, "batch_size": 4}
"""A batch of 4 on each of two processes is one step of 8."""


def without_dropout(encoder: Path) -> Path:
    # Dropout differs per process and would hide whether gradients are shared.
    config = json.loads((encoder / "config.json").read_text())
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (encoder / "config.json").write_text(json.dumps({**config, **dropout}))
    return encoder


def data(task: str) -> dict[str, Any]:
    return {"train": rows(task, "it is", 8), "eval": rows(task, "is it", 8)}


def tasks() -> list[Any]:
    labels = {"labels": ["red", "blue"]}
    return [
        cl.Classification("colour", **data("colour"), **labels),
        cl.Classification("again", **data("again"), **labels),
        cl.Generation("say", **data("say"), prompt="{{ text }}", answer="{{ label }}", max_new_tokens=2),
        cl.MultipleChoice(
            "choose", **data("choose"), prompt="{{ text }}", choices=["red", "blue"],
            answer="{{ label }}", answer_is="text",
        ),
    ]  # fmt: skip


class Trials:
    """A workspace, and the runs that are trained in it."""

    def __init__(self, folder: Path, python: Sequence[object] = PYTHON) -> None:
        self._python = python
        self.workspace = Workspace(folder / "workspace")
        cl.Workspace(self.workspace.root).add_task(*tasks())
        self.encoder = without_dropout(make_encoder(folder / "encoder"))
        self.causal_lm = make_causal_lm(folder / "causal-lm")
        self._runs = folder / "runs.json"
        self.seen: list[dict[str, Any]] = []

    def curriculum(self, *names: str, **fields: object) -> dict[str, Any]:
        base = self.encoder if "colour" in names else self.causal_lm
        fields.setdefault("model", {"path": str(base)})
        return tiny_curriculum(base, names, **{"train": HALF, **fields})

    def alone(self, name: str, curriculum: Mapping[str, Any], **options: Any) -> Run:
        """Train a run in this process."""
        spec, chosen = CurriculumSpec.model_validate(curriculum), RunOptions(measure_all=True, **options)
        return run_curriculum(self.workspace, spec, name, chosen, SilentProgress())

    def launched(self, *runs: Mapping[str, Any]) -> list[tuple[int, str, str]]:
        """Train runs in two processes."""
        self._runs.write_text(json.dumps(runs))
        root, file = str(self.workspace.root), str(self._runs)
        code = f"from tests.training.launched_runs import train; train({root!r}, {file!r})"
        return two_processes("-c", code, python=self._python, timeout_s=900)

    def reports(self, *runs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Train runs in two processes, and return what each process saw, by run."""
        ended = self.launched(*runs)
        assert [code for code, _, _ in ended] == [0, 0], "\n".join(errors for _, _, errors in ended)
        return [json.loads(out.splitlines()[-1]) for _, out, _ in ended]

    def run(self, name: str) -> Run:
        with self.workspace.read() as registry:
            return registry.run(name)

    def scores(self, name: str) -> dict[tuple[int, str, str], Evaluation]:
        with self.workspace.read() as registry:
            return {(e.stage, e.task, e.view): e for e in registry.evaluations(name)}

    def stages(self, name: str) -> list[dict[str, torch.Tensor]]:
        """Return the tensors of every stage's file."""
        contents = [self.workspace.artifacts.get(s.artifact, "safetensors") for s in self.run(name).stages]
        return [tensors | head for tensors, head in map(read_stage, contents)]


def launch(name: str, curriculum: Mapping[str, Any], *, sharded: bool = True, **more: Any) -> dict[str, Any]:
    """Return a run for `Trials.launched`."""
    return {"name": name, "curriculum": curriculum, "variables": FSDP if sharded else {}} | more


def same(one: list[dict[str, torch.Tensor]], other: list[dict[str, torch.Tensor]]) -> bool:
    return [sorted(stage) for stage in one] == [sorted(stage) for stage in other] and all(
        torch.equal(stage[name], others[name])
        for stage, others in zip(one, other, strict=True)
        for name in stage
    )


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory, preloaded: PreloadedProcess) -> Trials:
    """Two runs that were trained in one launch: of an encoder, and of a language model in bfloat16."""
    made = Trials(tmp_path_factory.mktemp("sharded"), [preloaded.commands / "python-c"])
    low = {"path": str(made.causal_lm), "dtype": "bfloat16"}
    made.alone("encoder-alone", made.curriculum("colour", "again", train=ALONE))
    made.alone("lm-alone", made.curriculum("say", model=low, train=ALONE))
    made.seen = made.reports(
        launch("encoder", made.curriculum("colour", "again")),
        launch("lm", made.curriculum("say", model=low)),
    )
    return made


@pytest.mark.nightly
def test_only_rank_0_loads_weights_and_each_process_keeps_its_part(trials: Trials) -> None:
    first, second = (report["encoder"] for report in trials.seen)
    assert (first["devices_before"], second["devices_before"]) == (["cpu"], ["meta"])
    assert not first["on_meta"]
    assert not second["on_meta"]
    assert first["sharded"] > 0.8 * first["values"]
    assert first["held"] + second["held"] == 2 * first["values"] - first["sharded"]
    assert max(first["held"], second["held"]) < 0.65 * first["values"]


@pytest.mark.parametrize("run", ["encoder", "lm"])
@pytest.mark.nightly
def test_base_model_computes_the_same_bits_as_before_it_was_sharded(trials: Trials, run: str) -> None:
    first, second = (report[run] for report in trials.seen)
    assert first["output_sharded"] == second["output_sharded"] == first["output_whole"]


@pytest.mark.parametrize("run", ["encoder", "lm"])
@pytest.mark.nightly
def test_buffers_of_the_base_model_are_the_same_in_every_process(trials: Trials, run: str) -> None:
    first, second = (report[run] for report in trials.seen)
    assert first["buffers"] == second["buffers"]


@pytest.mark.parametrize("run", ["encoder", "lm"])
@pytest.mark.nightly
def test_stage_file_holds_all_values_and_is_the_same_in_every_process(trials: Trials, run: str) -> None:
    first, second = (report[run]["stage_files"] for report in trials.seen)
    stages = trials.run(run).stages
    assert first == second == [stage.artifact for stage in stages]
    for stage, tensors in zip(stages, trials.stages(run), strict=True):
        values = [tensor for name, tensor in tensors.items() if name.startswith("values/")]
        assert stage.mask is not None
        assert sum(tensor.numel() for tensor in values) == stage.mask.cells
        assert all(bool(tensor.any()) for tensor in values)


@pytest.mark.parametrize(("run", "alone"), [("encoder", "encoder-alone"), ("lm", "lm-alone")])
@pytest.mark.nightly
def test_row_0_has_the_answers_of_an_unsharded_base_model(trials: Trials, run: str, alone: str) -> None:
    sharded, expected = trials.scores(run), trials.scores(alone)
    rows = [key for key in expected if key[0] == 0]
    assert rows
    for key in rows:
        assert sharded[key].source == "measured"
        assert sharded[key].input_digest == expected[key].input_digest
        assert sharded[key].answers == expected[key].answers


@pytest.mark.nightly
def test_matrix_of_two_processes_is_that_of_one(trials: Trials) -> None:
    sharded, alone = trials.scores("encoder"), trials.scores("encoder-alone")
    assert {key: e.score for key, e in sharded.items()} == {key: e.score for key, e in alone.items()}
    for stage, expected in zip(trials.stages("encoder"), trials.stages("encoder-alone"), strict=True):
        assert stage.keys() == expected.keys()
        assert all(torch.allclose(tensor, expected[name], atol=1e-4) for name, tensor in stage.items())


@pytest.mark.nightly
def test_adapter_of_a_bfloat16_base_is_trained_in_float32(trials: Trials) -> None:
    (stage,) = trials.stages("lm")
    values = [tensor for name, tensor in stage.items() if name.startswith("values/")]
    assert {tensor.dtype for tensor in values} == {torch.float32}
    assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in values)


@pytest.mark.nightly
def test_environment_of_a_stage_says_that_the_base_model_was_sharded(trials: Trials) -> None:
    environments = [trials.run(run).environment for run in ("encoder", "encoder-alone")]
    assert [environment.get("sharding") for environment in environments] == ["fsdp2", None]


@pytest.mark.nightly
def test_model_that_cannot_be_sharded_is_refused_before_anything_is_stored(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded_base, "sharding", Sharding)
    quantised = {"path": str(trials.causal_lm), "quantization": {"bits": 4}}
    with pytest.raises(ModelError, match=r"a quantised base model cannot be sharded; remove model\.quant"):
        trials.alone("refused", trials.curriculum("say", model=quantised))
    with trials.workspace.read() as registry:
        assert registry.find_run("refused") is None


def test_gguf_file_cannot_be_sharded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded_base, "sharding", Sharding)
    spec, place = ModelSpec(path="./base.gguf"), ModelLocation(Path(), Path("base.gguf"))
    with pytest.raises(ModelError, match=r"'\./base\.gguf' is a GGUF file, which cannot be sharded"):
        sharded_base.check_shardable(spec, place)


@pytest.mark.nightly
def test_model_without_layers_of_the_named_class_cannot_be_sharded(trials: Trials) -> None:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(trials.encoder)
    with pytest.raises(ModelError, match=r"type bert has no layers of class LlamaDecoderLayer, so it cannot"):
        sharded_base.shard_model(model, Sharding(layers=("LlamaDecoderLayer",)))


KEPT = {"FSDP_RESHARD_AFTER_FORWARD": "false"}
NULL_SPACE = {"null_space": {"energy": 0.9}, "projection": "null-space", "rank": 4, "alpha": 8}
VIEWS = {"batch_size": 4, "views": ["as_trained", "current", "routed"]}
SETTINGS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "null-space-routed": (("colour", "again"), {"adapter": NULL_SPACE, "eval": VIEWS}),
    "magnitude-masks": (("colour", "again"), {"masks": {"strategy": "magnitude", "density": 0.1}}),
    "gradient-masks": (("say", "choose"), {"masks": {"strategy": "gradient", "density": 0.1}, "eval": VIEWS}),
    "checkpointing": (("say", "choose"), {"train": {**HALF, "gradient_checkpointing": True}}),
    "recomputed-evidence": (
        ("say",),
        {"train": {**HALF, "gradient_checkpointing": True}, "masks": {"strategy": "gradient"}},
    ),
    "accumulation": (("say",), {"train": {**HALF, "batch_size": 2, "gradient_accumulation": 2}}),
    "bf16": (("say",), {"train": {**HALF, "precision": "bf16"}}),
    "sequential-lora": (("say", "choose"), {"method": "sequential-lora"}),
}


@pytest.mark.nightly
def test_sharding_changes_no_bit_under_any_setting(
    tmp_path: Path, tiny_t5: Path, tiny_bart: Path, preloaded: PreloadedProcess
) -> None:
    trials = Trials(tmp_path, [preloaded.commands / "python-c"])
    settings = dict(SETTINGS)
    for base in (tiny_t5, tiny_bart):
        fields = {"model": {"path": str(base)}, "adapter": NULL_SPACE, "eval": VIEWS}
        settings[base.name.rstrip("0")] = (("say", "choose"), fields)
    curricula = {name: trials.curriculum(*names, **fields) for name, (names, fields) in settings.items()}
    kept = {"kept-gathered": "magnitude-masks"}
    first, second = trials.reports(
        *(launch(new, curricula[old], variables=FSDP | KEPT) for new, old in kept.items()),
        *(launch(name, curriculum) for name, curriculum in curricula.items()),
        *(launch(f"{name}-unsharded", each, sharded=False) for name, each in curricula.items()),
    )
    for new, old in kept.items():
        assert same(trials.stages(new), trials.stages(old)), new
    for name in curricula:
        assert first[name]["stage_files"] == second[name]["stage_files"], name
        assert same(trials.stages(name), trials.stages(f"{name}-unsharded")), name
        found, expected = trials.scores(name), trials.scores(f"{name}-unsharded")
        assert {k: e.answers for k, e in found.items()} == {k: e.answers for k, e in expected.items()}, name


@pytest.mark.nightly
def test_killed_run_resumes_sharded_and_a_finished_one_needs_one_process_only(
    tmp_path: Path, preloaded: PreloadedProcess
) -> None:
    trials = Trials(tmp_path, [preloaded.commands / "python-c"])
    train = {**HALF, "epochs": 6, "save_steps": 1}
    curriculum = trials.curriculum("colour", "again", train=train)
    trials.reports(launch("whole", curriculum))
    killed = trials.launched(launch("killed", curriculum, killed_after=3))
    assert all(code for code, _, _ in killed)
    (complete,) = (trials.workspace.checkpoints / "killed").glob("train-*/checkpoint-*/complete.json")
    assert complete.parent.name == "checkpoint-3"
    saved = sum(file.stat().st_size for file in complete.parent.glob("*.safetensors"))
    assert saved < 10_000  # no base model
    trials.reports(launch("killed", curriculum))
    assert same(trials.stages("killed"), trials.stages("whole"))

    workspace = cl.Workspace(trials.workspace.root)
    run = workspace.get_run("killed")
    run.verify(remeasure=True)
    run.export("again", tmp_path / "adapter")
    assert len(run.predict(["it is red wet"], task="colour")) == 1
    longer = trials.curriculum("colour", "again", train=train)
    cl.Workspace(trials.workspace.root).add_task(
        cl.Classification("third", **data("third"), labels=["red", "blue"])
    )
    trials.alone("killed", {**longer, "tasks": ["colour", "again", "third"]}, allow_environment_change=True)
    assert [stage.environment["processes"] for stage in trials.run("killed").stages] == [2, 2, 1]


@pytest.mark.nightly
def test_configuration_in_examples_shards_the_base_model(tmp_path: Path) -> None:
    trials = Trials(tmp_path)
    file = tmp_path / "curriculum.yaml"
    file.write_text(json.dumps(trials.curriculum("colour")))  # JSON is YAML
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "examples/fsdp.yaml"]
    command = ["-m", "lori_cl", "--workspace", str(trials.workspace.root), "run", str(file), "--name", "run"]
    done = subprocess.run(
        [*accelerate, *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert trials.run("run").environment["sharding"] == "fsdp2"


@pytest.mark.nightly
def test_error_that_only_rank_0_can_find_ends_every_process(tmp_path: Path) -> None:
    trials = Trials(tmp_path)
    damaged = shutil.copytree(trials.causal_lm, tmp_path / "damaged")
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-64])
    ended = trials.launched(launch("run", trials.curriculum("say", model={"path": str(damaged)})))
    assert [code for code, _, _ in ended] == [1, 1]
    assert all("ModelError: model.path" in errors for _, _, errors in ended)


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_sharded_run_on_two_gpus_learns_what_an_unsharded_one_learns(tmp_path: Path) -> None:
    trials = Trials(tmp_path)
    model = {"path": str(trials.causal_lm), "dtype": "bfloat16"}
    curriculum = trials.curriculum("say", "choose", model=model, eval=VIEWS)
    reports = trials.reports(launch("run", curriculum), launch("unsharded", curriculum, sharded=False))
    first, second = (report["run"] for report in reports)
    assert first["stage_files"] == second["stage_files"]
    assert first["buffers"] == second["buffers"]
    assert max(first["held"], second["held"]) < 0.65 * first["values"]
    assert {k: e.score for k, e in trials.scores("run").items()} == {
        k: e.score for k, e in trials.scores("unsharded").items()
    }
    for stage, expected in zip(trials.stages("run"), trials.stages("unsharded"), strict=True):
        assert all(torch.allclose(tensor, expected[name], atol=1e-2) for name, tensor in stage.items())
