"""What several rooms' tests share: a tiny encoder and a tiny causal LM on disk, and tasks to teach them."""

import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lori_cl.registry import Evaluation, Run, Workspace
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions, SilentObserver, enrol, run_curriculum
from tests.postgres import Postgres, find_binaries, running

WORDS = ["red", "blue", "green", "round", "square", "flat", "small", "large", "wet", "dry"]


def make_tokenizer(folder: Path) -> int:
    vocab = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[EOS]", "is", "it", *WORDS])}
    plain = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]", model_max_length=32
    )
    wrapped.save_pretrained(folder)
    return len(vocab)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # pytest -n 2 fills two cores


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server; where it is not installed the test is skipped, and in CI it fails."""
    binaries = find_binaries()
    if binaries is None:
        missing = "PostgreSQL is not installed: apt-get install postgresql"
        pytest.fail(missing) if os.environ.get("LORI_CL_EVERY_BACKEND") else pytest.skip(missing)
    with running(binaries) as server:
        yield server


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sites: 6 a layer, 1 layer; cells at rank 4: 4 × (16 · 4 + 32 + 16) = 448."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=make_tokenizer(folder),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_causal_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("causal-lm")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=make_tokenizer(folder),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        max_position_embeddings=32,
        pad_token_id=0,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets-cache"))
    made = Workspace(tmp_path / "workspace")
    made.create()
    return made


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[..., Path]:
    """Write a classification task: which of two words stands in the text."""

    def write(name: str, labels: Sequence[str] = ("red", "blue"), n: int = 16, **fields: object) -> Path:
        draw = random.Random(name)
        folder = tmp_path / "declared" / name
        folder.mkdir(parents=True, exist_ok=True)
        for split, begins, rows in (("train", "it is", n), ("test", "is it", 8)):  # no text in both
            lines = []
            for index in range(rows):
                label = labels[index % len(labels)]
                text = f"{begins} {draw.choice(WORDS[5:])} {label} {draw.choice(WORDS[5:])}"
                lines.append(json.dumps({"text": text, "label": label}) + "\n")
            (folder / f"{split}.jsonl").write_text("".join(lines))
        declaration = {
            "name": name,
            "kind": "classification",
            "source": {"local": name},
            "labels": list(labels),
            **fields,
        }
        file = tmp_path / "declared" / f"{name}.yaml"
        file.write_text(yaml.safe_dump(declaration))
        return file

    return write


@pytest.fixture
def write_curriculum(tmp_path: Path, tiny_encoder: Path) -> Callable[..., Path]:
    """Write a curriculum for the tiny encoder; keyword arguments replace whole fields."""

    def write(*tasks: str, **fields: object) -> Path:
        curriculum = {
            "name": "tiny",
            "model": {"path": str(tiny_encoder)},
            "tasks": list(tasks),
            "adapter": {"rank": 4, "alpha": 8},
            "masks": {"strategy": "random", "density": 0.1},
            "train": {"epochs": 1, "batch_size": 8, "lr": 0.01, "max_length": 16},
            "eval": {"batch_size": 4},
            **fields,
        }
        file = tmp_path / "curriculum.yaml"
        file.write_text(yaml.safe_dump(curriculum))
        return file

    return write


@pytest.fixture
def learn(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> Callable[..., Run]:
    """Add the tasks, run the curriculum over them, return the run."""

    def run(
        *tasks: str,
        name: str = "run",
        options: RunOptions | None = None,
        into: Workspace = workspace,
        **fields: object,
    ) -> Run:
        enrol(into, [write_task(task) for task in tasks])
        spec = load_curriculum(write_curriculum(*tasks, **fields))
        return run_curriculum(into, spec, name, options or RunOptions(), SilentObserver())

    return run


@pytest.fixture
def scores(workspace: Workspace) -> Callable[..., dict[tuple[int, str, str], Evaluation]]:
    """A run's evaluations by (stage, task, view)."""

    def read(run: str = "run") -> dict[tuple[int, str, str], Evaluation]:
        with workspace.read() as registry:
            return {(e.stage, e.task, e.view): e for e in registry.evaluations(run)}

    return read
