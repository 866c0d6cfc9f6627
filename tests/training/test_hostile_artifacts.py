"""Files with a correct digest and invalid content are refused in one line and never used."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from lori_cl.adapters import METADATA_KEY, Site
from lori_cl.errors import ArtifactDamaged
from lori_cl.evaluation import load_run
from lori_cl.evaluation.stage_file import read_metadata, read_stage
from lori_cl.masks import Mask
from lori_cl.methods import StageState
from lori_cl.methods.lori.stage import LoRIStage
from lori_cl.registry import Run, Workspace
from lori_cl.routing import TaskStatistics
from lori_cl.tasks import from_jsonl
from tests.attempts import refusal_of

TrainRun = Callable[..., Run]
SITES = [Site("one", 5, 2, 3), Site("two", 5, 4, 3)]
STAGE = LoRIStage(
    Mask({"one": torch.tensor([[True, False, True]] * 2), "two": torch.zeros(4, 3, dtype=torch.bool)}),
    {"one": torch.tensor([1.0, 2.0, 3.0, 4.0])},
    {"one": torch.ones(3, 5), "two": torch.ones(3, 5)},
    {("one", "two"): torch.ones(5, 2)},
)


def read(tensors: Mapping[str, Tensor]) -> LoRIStage:
    return LoRIStage.from_state(StageState("a", tensors, {}), SITES)


def test_unmodified_stage_is_read() -> None:
    assert torch.equal(read(STAGE.to_tensors()).values["one"], STAGE.values["one"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mask/one": None}, "the mask does not match the adapter's sites: 'one'"),
        (
            {"mask/three": torch.zeros(1, dtype=torch.uint8)},
            "the mask does not match the adapter's sites: 'three'",
        ),
        (
            {"mask/one": torch.zeros(2, dtype=torch.uint8)},
            "the mask of one has 2 values of torch.uint8 for 6",
        ),
        ({"mask/one": torch.zeros(0, dtype=torch.uint8)}, "the mask of one has 0 values"),
        ({"mask/one": torch.zeros(1)}, "the mask of one has 1 values of torch.float32 for 6 cells"),
        ({"mask/one": torch.zeros(1, 1, dtype=torch.uint8)}, "the mask of one has 1 values"),
        (
            {"mask/one": torch.tensor([0b11101101], dtype=torch.uint8)},
            "the mask of one has bits set after its 6",
        ),
        ({"values/one": None}, "the sites of its mask and of its values differ: 'one'"),
        ({"values/two": torch.ones(1)}, "the sites of its mask and of its values differ: 'two'"),
        ({"values/one": torch.ones(5)}, "one has 4 cells but its values are (5,) of torch.float32"),
        ({"values/one": torch.ones(2, 2)}, "one has 4 cells but its values are (2, 2) of"),
        ({"values/one": torch.ones(4).double()}, "a value of one has type torch.float64"),
        ({"values/one": torch.ones(4, dtype=torch.complex64)}, "a value of one has type torch.complex64"),
        ({"values/one": torch.tensor([1.0, 2.0, torch.nan, 4.0])}, "a value of one is not finite"),
        ({"rank": torch.tensor(2)}, "its rank is 2, below the adapter's initial rank 3"),
        ({"rank": torch.tensor(-1)}, "its rank is -1"),
        ({"rank": torch.tensor(2**40)}, "the mask of one has 1 values"),
        ({"rank": torch.tensor(3.0)}, "its rank is () of torch.float32, not an int64 scalar"),
        ({"rank": torch.tensor([3])}, "its rank is (1,) of torch.int64"),
        ({"A/two": None}, "its projections A do not match the adapter's sites: 'two'"),
        ({"A/one": torch.ones(3, 6)}, "the A of one is (3, 6) of torch.float32, expected (3, 5)"),
        ({"A/one": torch.ones(4, 5)}, "the A of one is (4, 5)"),
        ({"A/one": torch.full((3, 5), torch.inf)}, "a value in the A of one is not finite"),
        ({"inputs/one,two": torch.ones(6, 2)}, "the input directions of one, two are (6, 2) of"),
        ({"inputs/one,two": torch.ones(5)}, "the input directions of one, two are (5,) of"),
        ({"inputs/one,six": torch.ones(5, 1)}, "the input directions of one, six are"),
        ({"inputs/": torch.ones(5, 1)}, "the input directions of  are"),
        ({"inputs/one,two": torch.full((5, 2), torch.nan)}, "an input direction of one, two is not finite"),
        ({"extra": torch.ones(1)}, "it holds an unknown tensor 'extra'"),
        ({"../x/one": torch.ones(1)}, "it holds an unknown tensor '../x/one'"),
    ],
    ids=range(30),
)
def test_stage_with_other_tensors_is_refused(changed: Mapping[str, Tensor | None], message: str) -> None:
    tensors = {key: t for key, t in {**STAGE.to_tensors(), **changed}.items() if t is not None}
    with pytest.raises(ArtifactDamaged) as refused:
        read(tensors)
    assert str(refused.value).startswith(f"the file of stage 'a' is damaged: {message}")
    assert str(refused.value).endswith("; restore it from a backup")


def test_stage_that_holds_cells_of_an_earlier_one_is_refused(
    train_run: TrainRun, workspace: Workspace
) -> None:
    train_run("a", "b")
    _replace(workspace, 1, lambda tensors, first: {**tensors, **first})
    with pytest.raises(ArtifactDamaged, match="its mask contains cells of an earlier stage"):
        train_run("a", "b", "c")


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("lori", {"head/bias": torch.ones(3)}, "'bias' is (3,) of torch.float32"),
        ("lori", {"head/more": torch.ones(3)}, "'more' is in only one of"),
        ("sequential-lora", {"lora_B/more": torch.ones(3)}, "its tensors do not match the adapter"),
    ],
)
def test_run_whose_file_does_not_fit_its_model_is_refused(
    train_run: TrainRun, workspace: Workspace, method: str, change: Mapping[str, Tensor], message: str
) -> None:
    train_run("a", method=method, masks={"strategy": "random"} if method == "lori" else {})
    _replace(workspace, 0, lambda tensors, _: {**tensors, **change})
    with workspace.read() as registry:
        refused = refusal_of(lambda: (run := load_run(workspace, registry, "run")).weights(run.acting("a")))
    assert refused is not None
    assert message in refused


def _replace(workspace: Workspace, position: int, change: Callable[..., Mapping[str, Tensor]]) -> None:
    """Replace the file of a stage and record the new digest in the registry."""
    with workspace.read() as registry:
        stages = registry.run("run").stages
    files = []
    for stage in stages:
        tensors, head = read_stage(workspace.artifacts.get(stage.artifact, "safetensors"))
        files.append({**tensors, **{f"head/{key}": tensor for key, tensor in head.items()}})
    digest = workspace.artifacts.put(save(dict(change(files[position], files[0]))), "safetensors")
    with closing(sqlite3.connect(workspace.root / "registry.db")) as database, database:
        database.execute("INSERT INTO artifacts VALUES (?, 'safetensors', 1, '2000-01-01')", (digest,))
        database.execute("UPDATE stages SET artifact = ? WHERE position = ?", (digest, position + 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header too small"),
        (b"\xff" * 8, "header too large"),
        (save({"x": torch.ones(3)}) + b"more", "file not fully covered"),
        (save({"x": torch.ones(3)})[:-1], "not a safetensors file"),
    ],
)
def test_stage_that_is_not_safetensors_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ArtifactDamaged, match=message):
        read_stage(content)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {METADATA_KEY: "no JSON"},
        {METADATA_KEY: "[1]"},
        {METADATA_KEY: "[" * 10**5},
        {METADATA_KEY: "NaN"},
    ],
)
def test_stage_without_metadata_is_refused(metadata: dict[str, str] | None) -> None:
    with pytest.raises(ArtifactDamaged, match="a stage's file has "):
        read_metadata(save({"x": torch.ones(3)}, metadata))


tensors = st.builds(
    lambda shape, dtype, fill: torch.full(shape, fill).to(dtype),
    st.lists(st.integers(0, 6), max_size=3).map(tuple),
    st.sampled_from([torch.float32, torch.bfloat16, torch.uint8, torch.int64, torch.bool]),
    st.sampled_from([0.0, 1.0, 255.0, -1.0, torch.nan, torch.inf]),
)
names = st.sampled_from(
    [*STAGE.to_tensors(), "mask/three", "values/two", "inputs/one", "inputs/,", "A/", "x", "/", "", "rank/x"]
)


@settings(deadline=None, max_examples=300)
@given(dropped=st.sets(names, max_size=2), changed=st.dictionaries(names, tensors, max_size=3))
def test_any_tensors_are_read_or_refused_in_one_line(dropped: set[str], changed: dict[str, Tensor]) -> None:
    given_tensors = {k: t for k, t in STAGE.to_tensors().items() if k not in dropped} | changed
    refusal_of(lambda: read(given_tensors))


@settings(deadline=None, max_examples=300)
@given(edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_stage_file_is_read_or_refused_in_one_line(edits: list[tuple[int, int]]) -> None:
    content = bytearray(save(STAGE.to_tensors(), {METADATA_KEY: "{}"}))
    for at, byte in edits:
        content[at % len(content)] = byte
    refusal_of(lambda: read(read_stage(bytes(content))[0]))
    refusal_of(lambda: read_metadata(bytes(content)))


ARRAYS = TaskStatistics.of(np.arange(12.0).reshape(4, 3)).to_arrays()


@pytest.mark.parametrize(
    "changed",
    [
        {"n": np.array([0])},
        {"n": np.array([2.5])},
        {"n": np.array([1, 2])},
        {"mean": np.zeros(0)},
        {"mean": np.zeros(10**6)},
        {"mean": np.zeros((3, 1))},
        {"mean": np.array([0, np.nan, 0])},
        {"scatter": np.zeros(7)},
        {"scatter": np.zeros(6, dtype=int)},
        {"scatter": np.array([0, 0, 0, 0, 0, np.inf])},
        {"scatter": np.array([-1.0, 0, 0, 1, 0, 1])},
        {"scatter": np.array([1e300, 0, 0, 1, 0, 1])},
        {"scatter": np.array([1.0, 9, 0, 1, 0, 1])},
        {"mean": np.array([0, 1e200, 0])},
        {"more": np.zeros(1)},
    ],
    ids=str,
)
def test_invalid_statistics_are_refused(changed: Mapping[str, Any]) -> None:
    with pytest.raises(ArtifactDamaged, match="a task's statistics"):
        TaskStatistics.from_arrays({**ARRAYS, **changed})


EXAMPLE = {"id": 1, "text": "a", "target": "b"}


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[1]",
        "null",
        json.dumps({**EXAMPLE, "id": "1"}),
        json.dumps({**EXAMPLE, "id": True}),
        json.dumps({**EXAMPLE, "text": None}),
        json.dumps({**EXAMPLE, "choices": "ab", "check": 1}),
        json.dumps({**EXAMPLE, "choices": [1]}),
        json.dumps({**EXAMPLE, "choices": 7}),
        json.dumps({**EXAMPLE, "more": 1}),
        json.dumps({"id": 1, "text": "a"}),
        '{"id": 1, "id": 2, "text": "a", "target": "b"}',
        '{"id": NaN, "text": "a", "target": "b"}',
        "[" * 10**5,
    ],
    ids=lambda line: line[:40],
)
def test_invalid_eval_set_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(ArtifactDamaged, match="line 2 of an eval set is not an example"):
        from_jsonl(f"{json.dumps(EXAMPLE)}\n{line}\n".encode())


def test_eval_set_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(ArtifactDamaged, match="byte 0 of an eval set is not UTF-8"):
        from_jsonl(b"\xff")


@settings(deadline=None, max_examples=200)
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_read_as_an_eval_set_or_refused_in_one_line(content: bytes) -> None:
    refusal_of(lambda: from_jsonl(content))
