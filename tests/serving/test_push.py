"""A task is uploaded as its export, with a model card of the run; a local server plays the hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants
from peft import PeftModel
from transformers import AutoModel

from lori_cl.errors import InputError, LoriError
from lori_cl.evaluation import LoadedRun, load_run
from lori_cl.registry import Workspace
from lori_cl.serving.export import export
from lori_cl.serving.push import check_push, push
from tests.serving.fake_hub import FakeHub, fake_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield server


@pytest.fixture
def run(trained: Workspace) -> LoadedRun:
    with trained.read() as registry:
        return load_run(trained, registry, "run")


def test_uploaded_files_are_those_of_the_export(hub: FakeHub, run: LoadedRun, tmp_path: Path) -> None:
    done = push(run, "b", "me/b-lora")
    uploaded = hub.files["me/b-lora", "main"]
    export(run, "b", tmp_path / "out")
    assert uploaded.keys() == done.files.keys() == {file.name for file in (tmp_path / "out").iterdir()}
    for name in uploaded.keys() - {"README.md"}:
        assert uploaded[name] == (tmp_path / "out" / name).read_bytes()
    assert {name: len(content) for name, content in uploaded.items()} == done.files
    assert hub.titles == ["Add b of run run"]
    assert hub.tokens == {"Bearer hf_secret"}
    assert done.url == f"{hub.url}/me/b-lora/commit/{'0' * 40}"


def test_uploaded_files_load_with_peft(
    hub: FakeHub, run: LoadedRun, tmp_path: Path, tiny_encoder: Path
) -> None:
    push(run, "b", "me/b-lora")
    for name, content in hub.files["me/b-lora", "main"].items():
        (tmp_path / name).write_bytes(content)
    PeftModel.from_pretrained(AutoModel.from_pretrained(tiny_encoder), tmp_path)


def test_model_card_has_the_matrix_the_lineage_and_the_name_on_the_hub(hub: FakeHub, run: LoadedRun) -> None:
    push(run, "b", "me/b-lora")
    card = hub.files["me/b-lora", "main"]["README.md"].decode()
    _, metadata, text = card.split("---\n", 2)
    assert yaml.safe_load(metadata) == {
        "library_name": "peft",
        "tags": ["lori_cl", "lora", "continual-learning"],
    }
    assert 'PeftModel.from_pretrained(base_model, "me/b-lora")' in text
    assert 'load_file(hf_hub_download("me/b-lora", "b.head.safetensors"))' in text
    assert "lori-cl-push-" not in card
    for view in ("as_trained", "current", "routed"):
        assert re.search(rf"### View {view}\n\n\| after stage \| a \| b \| mean of learned \|", text)
    assert "## Lineage" in text
    assert all(stage.artifact in text for stage in run.run.stages)


def test_exported_readme_has_the_matrix_and_the_lineage(run: LoadedRun, tmp_path: Path) -> None:
    export(run, None, tmp_path / "out", verify=False)
    text = (tmp_path / "out" / "README.md").read_text()
    assert text.index("## Origin") < text.index("## Forgetting matrix") < text.index("## Lineage")
    assert "| 2 b |" in text


def test_branch_is_created(hub: FakeHub, run: LoadedRun) -> None:
    push(run, "b", "me/b-lora", revision="week-2", verify=False)
    assert hub.files["me/b-lora", "main"] == {}
    assert "adapter_model.safetensors" in hub.files["me/b-lora", "week-2"]


def test_dry_run_uploads_nothing_and_needs_no_token(
    hub: FakeHub, run: LoadedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    done = push(run, "b", "me/b-lora", dry_run=True, verify=False)
    assert done.url is None
    assert "README.md" in done.files
    assert (hub.private, hub.tokens) == ({}, set())


def test_private_repository_is_created_and_a_public_one_is_refused(hub: FakeHub, run: LoadedRun) -> None:
    push(run, "b", "me/secret", private=True, verify=False)
    assert hub.private == {"me/secret": True}
    push(run, "a", "me/secret", private=True, verify=False)
    hub.private["me/open"] = False
    with pytest.raises(InputError, match="'me/open' exists and is public; nothing was uploaded"):
        push(run, "b", "me/open", private=True, verify=False)
    assert hub.files["me/open", "main"] == {}


@pytest.mark.parametrize(
    ("path", "status", "kind", "message"),
    [
        ("repos/create", 401, InputError, "refuses the token .401.*hf auth login"),
        ("repos/create", 403, InputError, "may not write to 'me/b-lora' .403"),
        ("commit", 403, InputError, "may not write to 'me/b-lora' .403"),
        ("commit", 409, LoriError, "'me/b-lora' was changed at the same time .409"),
        ("commit", 413, LoriError, "the hub answers 413 for 'me/b-lora'"),
    ],
)
def test_refusal_of_the_hub_is_a_one_line_error(
    hub: FakeHub, run: LoadedRun, path: str, status: int, kind: type[LoriError], message: str
) -> None:
    hub.refuse[path] = status
    with pytest.raises(kind, match=message):
        push(run, "b", "me/b-lora", verify=False)


def test_hub_that_cannot_be_reached_is_a_one_line_error(
    hub: FakeHub, run: LoadedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(LoriError, match=r"the upload to http://127\.0\.0\.1:1 failed: .*check the network"):
        push(run, "b", "me/b-lora", verify=False)


def test_missing_token_offline_mode_and_invalid_names_are_refused_first(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="--repo 'a/b/c' is not a name of a repository"):
        check_push("a/b/c", dry_run=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set, so nothing can be uploaded"):
        check_push("me/b-lora", dry_run=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(InputError, match="no token for the hub; set HF_TOKEN"):
        check_push("me/b-lora", dry_run=False)
    check_push("me/b-lora", dry_run=True)
