"""All tasks of a run are exported at once, with the command that serves them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from peft import PeftConfig

from lori_cl.errors import InputError
from lori_cl.evaluation import LoadedRun, load_run
from lori_cl.registry import Workspace
from lori_cl.serving import export_all as export_all_file
from lori_cl.serving.export_all import export_all
from lori_cl.serving.vllm import RANKS, fitting_rank, rank_note, serve_command

Call = Callable[..., tuple[int, str, str]]


def test_every_task_is_a_folder_and_the_command_serves_all_of_them(
    generation_run: LoadedRun, tmp_path: Path, tiny_causal_lm: Path
) -> None:
    folder = tmp_path / "all loras"
    done = export_all(generation_run, folder)
    tasks = ["say", "turn", "pick"]
    assert [each.folder for each in done.exports] == [folder / task for task in tasks]
    assert {each.largest_difference for each in done.exports} == {0.0}
    assert [PeftConfig.from_pretrained(folder / task).r for task in tasks] == [4, 4, 4]
    assert done.vllm_command is not None
    modules = [f"{task}={folder / task}" for task in tasks]
    assert shlex.split(done.vllm_command) == [
        *("vllm", "serve", str(tiny_causal_lm), "--enable-lora", "--max-lora-rank", "8", "--lora-modules"),
        *modules,
    ]
    assert done.vllm_note is not None
    assert "--max-lora-rank is 8" in done.vllm_note


def test_encoder_is_exported_without_a_command_for_vllm(trained: Workspace, tmp_path: Path) -> None:
    with trained.read() as registry:
        done = export_all(load_run(trained, registry, "run"), tmp_path / "out", verify=False)
    assert [each.heads for each in done.exports] == [("a.head.safetensors",), ("b.head.safetensors",)]
    assert done.vllm_command is None
    assert done.vllm_note == "vLLM serves adapters of causal language models, and the base is of type encoder"


def test_no_folder_is_left_if_one_export_fails(
    generation_run: LoadedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = export_all_file.export

    def fail_at_turn(loaded: LoadedRun, task: str, folder: Path, *, verify: bool) -> object:
        if task == "turn":
            raise InputError("zero everywhere")
        return export(loaded, task, folder, verify=verify)

    monkeypatch.setattr(export_all_file, "export", fail_at_turn)
    with pytest.raises(InputError, match="zero everywhere"):
        export_all(generation_run, tmp_path / "out", verify=False)
    assert not (tmp_path / "out").exists()


def test_non_empty_folder_is_refused_and_kept(generation_run: LoadedRun, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        export_all(generation_run, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("rank", "fitting"), [(1, 1), (2, 8), (16, 16), (33, 64), (257, 320), (512, 512), (513, None)]
)
def test_rank_is_rounded_up_to_one_that_vllm_allows(rank: int, fitting: int | None) -> None:
    assert fitting_rank(rank) == fitting
    note = rank_note(rank)
    assert (note is None) == (rank in RANKS)
    assert note is None or str(rank) in note


def test_command_names_the_revision_and_quotes_paths() -> None:
    command = serve_command("org/model", "abc123", {"a@2": Path("my loras/a@2")}, 32)
    assert command == (
        "vllm serve org/model --revision abc123 --enable-lora --max-lora-rank 32 "
        "--lora-modules 'a@2=my loras/a@2'"
    )
