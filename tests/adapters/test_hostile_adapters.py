"""Adapter folders are untrusted input: read as a LoRA or refused in one line, without running or blocking."""

from __future__ import annotations

import copy
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import save_file
from torch import Tensor

from lori_cl.adapters import read_external_adapter, read_tensors
from lori_cl.adapters.external_adapter import INITIALISATIONS
from lori_cl.errors import InputError
from tests.attempts import refusal_of

CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "some/model"}
SITE = "base_model.model.layer.query"

Fields = dict[str, Any]


def factors(**changes: Tensor) -> dict[str, Tensor]:
    return {f"{SITE}.lora_A.weight": torch.ones(2, 3), f"{SITE}.lora_B.weight": torch.ones(4, 2), **changes}


def folder_of(path: Path, config: object = CONFIG, tensors: dict[str, Tensor] | None = None) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    text = config if isinstance(config, str) else json.dumps(config)
    (path / "adapter_config.json").write_text(text)
    save_file(factors() if tensors is None else tensors, path / "adapter_model.safetensors")
    return path


def test_unmodified_adapter_folder_is_read(tmp_path: Path) -> None:
    adapter = read_external_adapter(folder_of(tmp_path))
    assert (adapter.rank, adapter.alpha, adapter.base) == (2, 4.0, "some/model")
    assert adapter.weights.b["layer.query"].shape == (4, 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"r": True}, "r is True; it must be an integer"),
        ({"r": 2.5}, "r is 2.5; it must be an integer"),
        ({"r": 0}, "r is 0; it must be an integer"),
        ({"r": 10**30}, "it must be an integer from 1 to 16,384"),
        ({"r": "2"}, "r is '2'"),
        ({"r": None}, "r is None"),
        ({"lora_alpha": float("nan")}, "NaN is not a finite number"),
        ({"lora_alpha": float("inf")}, "Infinity is not a finite number"),
        ({"lora_alpha": 1e300}, "at most 1e\\+09"),
        ({"lora_alpha": -1}, "lora_alpha is -1"),
        ({"lora_alpha": [4]}, r"lora_alpha is \[4\]"),
        ({"base_model_name_or_path": ["a"]}, "it must be a model name"),
        ({"base_model_name_or_path": "\ud800"}, "it must be a model name"),
        ({"base_model_name_or_path": "a\x1b[2J"}, "it must be a model name"),
        ({"peft_type": ["LORA"]}, r"describes \['LORA'\]; only LORA"),
        ({"use_dora": "yes"}, "sets use_dora"),
        ({"rank_pattern": {".*": 1}}, "sets rank_pattern"),
        ({"bias": {}}, "sets bias"),
        ({"rank_pattern": {"a": 1}, "use_qalora": True}, "sets rank_pattern, use_qalora; only an update"),
        ({"alora_invocation_tokens": [1, 2]}, "sets alora_invocation_tokens"),
        ({"layer_replication": [[0, 1]]}, "sets layer_replication"),
        ({"arrow_config": {"top_k": 1}}, "sets arrow_config"),
        ({"kasa_config": {}}, "sets kasa_config"),
        ({"velora_config": {"num_groups": 1}}, "sets velora_config"),
        ({"of_a_peft_to_come": 1}, "sets of_a_peft_to_come"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights to 'pissa', which may have changed the base"),
        ({"init_lora_weights": "PiSSA_niter_4"}, "init_lora_weights to 'PiSSA_niter_4'"),
        ({"init_lora_weights": "olora"}, "init_lora_weights to 'olora'"),
        ({"init_lora_weights": "corda"}, "init_lora_weights to 'corda'"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights to 'loftq'"),
        ({"init_lora_weights": "lora_ga"}, "init_lora_weights to 'lora_ga'"),
        ({"init_lora_weights": ["eva"]}, r"init_lora_weights to \['eva'\]"),
    ],
    ids=str,
)
def test_unsupported_setting_is_refused(tmp_path: Path, changed: Fields, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_external_adapter(folder_of(tmp_path, CONFIG | changed))


@pytest.mark.parametrize(
    "ignored",
    [
        {"target_modules": "(a+)+$" + "a" * 40},
        {"target_modules": [f"({'.*' * 30})*x"]},
        {"auto_mapping": {"base_model_class": "os.system", "parent_library": "os"}},
        {"layers_pattern": "(x+x+)+y", "exclude_modules": "(.*)*$"},
        {"revision": "../../etc", "task_type": "../../x"},
        {"loftq_config": {"__reduce__": "id"}, "corda_config": [[[[1]]]]},
    ],
    ids=str,
)
def test_config_fields_that_peft_reads_as_patterns_or_classes_are_ignored(
    tmp_path: Path, ignored: Fields
) -> None:
    adapter = read_external_adapter(folder_of(tmp_path, CONFIG | ignored))
    assert list(adapter.weights.a) == ["layer.query"]


@pytest.mark.parametrize(
    "initialisation", [True, False, None, "gaussian", "Gaussian", "orthogonal", "eva", "mica"]
)
def test_every_ordinary_lora_saved_by_peft_is_read(tmp_path: Path, initialisation: bool | str | None) -> None:
    plain = LoraConfig(r=2, lora_alpha=4, target_modules=["query"], lora_dropout=0.1, task_type="CAUSAL_LM")
    plain.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    adapter = read_external_adapter(folder_of(tmp_path, saved | {"init_lora_weights": initialisation}))
    assert list(adapter.weights.a) == ["layer.query"]


def test_accepted_initialisations_do_not_change_the_base_model() -> None:
    for initialisation in INITIALISATIONS[1:]:
        base = torch.nn.ModuleDict({"query": torch.nn.Linear(4, 4)})
        before = base["query"].weight.clone()
        config = LoraConfig(r=2, target_modules=["query"], init_lora_weights=initialisation)
        changed = inject_adapter_in_model(config, base)
        assert torch.equal(changed["query"].get_base_layer().weight, before)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        "{}",
        "[" * 100_000,
        '{"r": 1, "r": 2}',
        '{"r": ' + "9" * 5000 + "}",
        " " * 2**21,
    ],
    ids=lambda text: text[:12],
)
def test_invalid_configuration_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    assert refusal_of(lambda: read_external_adapter(folder_of(tmp_path, text)))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "0 lora_A and 0 lora_B of 0 tensors"),
        (factors(extra=torch.ones(1)), "1 lora_A and 1 lora_B of 3 tensors"),
        (factors(**{"layer.query.lora_A.weight": torch.ones(2, 3)}), "1 lora_A and 1 lora_B of 3 tensors"),
        (factors(**{f"{SITE}.lora_A.weight": torch.ones(3, 3)}), "it must be a factor of rank 2"),
        (factors(**{f"{SITE}.lora_A.weight": torch.ones(6)}), "it must be a factor of rank 2"),
        (factors(**{f"{SITE}.lora_B.weight": torch.ones(2, 2, 2)}), "it must be a factor of rank 2"),
        (factors(**{f"{SITE}.lora_B.weight": torch.ones(4, 2).long()}), "torch.int64; it must be a factor"),
        (factors(**{f"{SITE}.lora_B.weight": torch.ones(4, 2).to(torch.float8_e5m2)}), "must be a factor"),
        (factors(**{f"{SITE}.lora_B.weight": torch.ones(4, 2, dtype=torch.complex64)}), "must be a factor"),
        (factors(**{f"{SITE}.lora_B.weight": torch.full((4, 2), torch.nan)}), "is not a finite number"),
        (
            factors(**{f"{SITE}.lora_B.weight": torch.full((4, 2), 1e300, dtype=torch.double)}),
            "is not a finite number",
        ),
        (factors(**{f"{SITE}.lora_B.weight": torch.zeros(4, 2)}), "every cell of B is zero"),
    ],
    ids=range(12),
)
def test_tensors_that_do_not_fit_the_lora_rank_are_refused(
    tmp_path: Path, tensors: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_external_adapter(folder_of(tmp_path, tensors=tensors))


def test_huge_tensor_name_is_shortened_in_the_message(tmp_path: Path) -> None:
    long = "\x1b\n" * 2**19
    refused = refusal_of(lambda: read_external_adapter(folder_of(tmp_path, tensors={long: torch.ones(1)})))
    assert refused is not None
    long_site = {f"{long}.lora_A.weight": torch.ones(1, 3), f"{long}.lora_B.weight": torch.ones(4, 1)}
    refused = refusal_of(lambda: read_external_adapter(folder_of(tmp_path, tensors=long_site)))
    assert refused is not None
    assert len(refused) < 10_000


class CreatesFileOnUnpickle:
    """An object that creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.open, (str(self._file), os.O_CREAT)


@pytest.fixture
def binary(tmp_path: Path) -> Callable[[object], Path]:
    """Save an object to adapter_model.bin with torch.save and return the folder."""

    def write(value: object) -> Path:
        folder = folder_of(tmp_path / "adapter")
        (folder / "adapter_model.safetensors").unlink()
        torch.save(value, folder / "adapter_model.bin")
        return folder

    return write


def test_bin_file_of_plain_tensors_is_read(binary: Callable[[object], Path]) -> None:
    assert list(read_external_adapter(binary(factors())).weights.a) == ["layer.query"]


@pytest.mark.parametrize("where", ["value", "name", "alone", "in list"])
def test_pickle_code_is_never_executed(tmp_path: Path, binary: Callable[[object], Path], where: str) -> None:
    payload = CreatesFileOnUnpickle(tmp_path / "owned")
    value: object = {
        "value": {"x": payload},
        "name": {(payload,): torch.ones(1)},
        "alone": payload,
        "in list": factors() | {"x": [payload]},
    }[where]
    folder = binary(value)
    with pytest.raises(InputError, match=r"adapter_model\.bin"):
        read_external_adapter(folder)
    assert not (tmp_path / "owned").exists()


def test_bare_pickle_is_refused_without_unpickling(tmp_path: Path, binary: Callable[[object], Path]) -> None:
    folder = binary({})
    for content in (
        pickle.dumps(CreatesFileOnUnpickle(tmp_path / "owned")),
        b"",
        b"\x80\x02.",
        b"PK\x03\x04" + b"\0" * 99,
    ):
        (folder / "adapter_model.bin").write_bytes(content)
        with pytest.raises(InputError, match=r"is not in the format of torch\.save|cannot be read"):
            read_external_adapter(folder)
    assert not (tmp_path / "owned").exists()


def test_compressed_archive_is_refused_before_unpacking(
    tmp_path: Path, binary: Callable[[object], Path]
) -> None:
    folder = binary({"x": torch.zeros(2**20)})
    stored, packed = folder / "adapter_model.bin", tmp_path / "packed"
    with zipfile.ZipFile(stored) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    packed.replace(stored)
    with pytest.raises(InputError, match="is compressed"):
        read_external_adapter(folder)


def test_archive_with_overlapping_entries_is_refused_before_unpacking(
    tmp_path: Path, binary: Callable[[object], Path]
) -> None:
    stored = binary({"x": torch.zeros(2**10)}) / "adapter_model.bin"
    with zipfile.ZipFile(stored, "a") as archive:
        (data,) = [entry for entry in archive.infolist() if entry.file_size == 4 * 2**10]
        for number in range(1_000):
            duplicate = copy.copy(data)
            duplicate.filename = f"{data.filename}{number}"
            archive.filelist.append(duplicate)
        archive._didModify = True
    with pytest.raises(InputError, match=r"declares 4,10\d,\d{3} bytes and has"):
        read_external_adapter(stored.parent)


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(1).expand(2**20, 2**20),
        torch.ones(2, 3).to_sparse(),
        torch.empty(2, 3, device="meta"),
        "text",
        [torch.ones(1)],
        None,
    ],
    ids=["stride 0", "sparse", "meta", "text", "list", "none"],
)
def test_value_that_is_not_a_plain_dense_tensor_is_refused(
    binary: Callable[[object], Path], value: object
) -> None:
    with pytest.raises(InputError, match=r"adapter_model\.bin"):
        read_external_adapter(binary(factors() | {"x": value}))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "mask.pt"])
@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "missing"])
def test_non_regular_files_are_refused_without_blocking(tmp_path: Path, name: str, kind: str) -> None:
    path = folder_of(tmp_path / "adapter") / name
    path.unlink(missing_ok=True)
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
    mask = path if name == "mask.pt" else None
    with pytest.raises(InputError, match=rf"{path.parent}"):
        read_external_adapter(path.parent, mask)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn, torch.int64], ids=str)
def test_invalid_mask_values_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({f"{SITE}.lora_B.weight": torch.ones(4, 2).to(dtype)}, tmp_path / "mask.safetensors")
    with pytest.raises(InputError, match=r"has no mask of shape \(4, 2\) for layer\.query"):
        read_external_adapter(folder_of(tmp_path / "adapter"), tmp_path / "mask.safetensors")


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2**70),
    st.floats(),
    st.text(max_size=6),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@settings(deadline=None, max_examples=150)
@given(
    changed=st.dictionaries(
        st.sampled_from([*CONFIG, "bias", "use_dora", "target_modules"]), values, max_size=4
    )
)
def test_any_configuration_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, changed: Fields
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-configuration"
    refusal_of(lambda: read_external_adapter(folder_of(folder, CONFIG | changed)))


@settings(deadline=None, max_examples=200)
@given(
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=8)), max_size=4),
    cut=st.integers(0, 400),
    ending=st.sampled_from(["safetensors", "bin"]),
)
def test_damaged_weights_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes]], cut: int, ending: str
) -> None:
    file = tmp_path_factory.getbasetemp() / f"damaged.{ending}"
    save_file(factors(), file) if ending == "safetensors" else torch.save(factors(), file)
    content = bytearray(file.read_bytes())
    for at, new in edits:
        at %= len(content)
        content[at : at + len(new)] = new
    file.write_bytes(content[: max(0, len(content) - max(0, cut - 200))])
    refusal_of(lambda: read_tensors(file))


@settings(deadline=None, max_examples=200)
@given(
    header=st.text(max_size=60).map(str.encode) | st.binary(max_size=60),
    claimed=st.integers(0, 2**64 - 1) | st.none(),
)
def test_any_safetensors_header_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, header: bytes, claimed: int | None
) -> None:
    file = tmp_path_factory.getbasetemp() / "header.safetensors"
    file.write_bytes(struct.pack("<Q", len(header) if claimed is None else claimed) + header)
    refusal_of(lambda: read_tensors(file))
