from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import datasets
import huggingface_hub
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from .tiny_models import word_tokenizer


@pytest.fixture(scope="package", autouse=True)
def no_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Block the hub and cache data sets in a folder of these tests."""
    cache = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_DATASETS_CACHE", str(cache))
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
        yield


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset $LORI_CL_DATA of the user who runs the tests."""
    monkeypatch.delenv("LORI_CL_DATA", raising=False)


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Run on one thread, which is faster for tiny tensors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word."""
    return word_tokenizer()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the programs' working directories are created."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def outside_file(tmp_path: Path) -> Iterator[Path]:
    """A user's file. The test fails if the file or its folder changes."""

    def state() -> list[object]:
        stats = [outside_file.stat(), outside_file.parent.stat()]
        names = [path.name for path in outside_file.parent.iterdir()]
        return [outside_file.read_text(), names, os.listxattr(outside_file)] + [
            (s.st_mode, s.st_mtime_ns, s.st_uid, s.st_nlink) for s in stats
        ]

    outside_file = tmp_path / "home" / "diary.txt"
    outside_file.parent.mkdir()
    outside_file.write_text("dear diary")
    outside_file.chmod(0o666)  # every user may read and write it
    outside_file.parent.chmod(0o777)
    before = state()
    yield outside_file
    assert state() == before
