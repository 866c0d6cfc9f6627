from __future__ import annotations

from collections.abc import Iterator

import datasets
import huggingface_hub
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from .tiny_models import word_tokenizer


@pytest.fixture(scope="package", autouse=True)
def no_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The hub is out of reach, and data sets are cached in a folder of these tests' own."""
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
    """The tester's own $LORI_CL_DATA is out of sight."""
    monkeypatch.delenv("LORI_CL_DATA", raising=False)


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors are faster on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    return word_tokenizer()
