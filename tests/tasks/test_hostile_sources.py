"""Data files are untrusted input: read literally or refused in one line, in bounded time, in their folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lori_cl.errors import DataError
from lori_cl.spec.task import Source
from lori_cl.tasks import eval_examples, row_files, train_examples
from lori_cl.tasks.sources import read_split
from tests.attempts import refusal_of

from .task_files import classification, multiple_choice, write_bytes, write_rows

ROW = {"text": "secret", "label": "positive"}

Refusal = Callable[..., str]


@pytest.fixture
def refusal(tmp_path: Path) -> Refusal:
    """Return the one-line error of reading a source next to a task file."""

    def read(local: str, split: str = "train") -> str:
        (tmp_path / "tasks").mkdir(exist_ok=True)
        with pytest.raises(DataError) as refused:
            read_split(Source(local=local), split, tmp_path / "tasks")
        assert "\n" not in str(refused.value)
        return str(refused.value)

    return read


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with data that no relative path in these tests may reach."""
    write_rows(tmp_path / "outside" / "train.jsonl", [ROW])
    return tmp_path / "outside"


@pytest.mark.parametrize("local", ["../outside", "data/../../outside", "./../tasks/../outside", "link"])
def test_relative_source_outside_the_task_file_folder_is_refused(
    refusal: Refusal, tmp_path: Path, outside: Path, local: str
) -> None:
    (tmp_path / "tasks" / "data").mkdir(parents=True)
    (tmp_path / "tasks" / "link").symlink_to(outside)
    assert refusal(local) == (
        f"{tmp_path / 'tasks' / local} leads out of {tmp_path / 'tasks'}, to {outside}; "
        "use an absolute path in source.local, or set LORI_CL_DATA"
    )


def test_symlink_to_a_file_outside_the_task_file_folder_is_refused(
    refusal: Refusal, tmp_path: Path, outside: Path
) -> None:
    (tmp_path / "tasks" / "data").mkdir(parents=True)
    (tmp_path / "tasks" / "data" / "train.jsonl").symlink_to(outside / "train.jsonl")
    assert f"to {outside / 'train.jsonl'}" in refusal("data")


def test_relative_source_outside_lori_cl_data_is_refused(
    refusal: Refusal, tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(outside)
    monkeypatch.setenv("LORI_CL_DATA", str(tmp_path / "data"))
    assert f"leads out of {tmp_path / 'data'}" in refusal("link")


def test_symlinks_inside_and_absolute_paths_with_symlinks_are_followed(tmp_path: Path, outside: Path) -> None:
    write_rows(tmp_path / "tasks" / "real" / "train.jsonl", [ROW])
    (tmp_path / "tasks" / "data").symlink_to("real")
    (tmp_path / "far").symlink_to(outside)
    for local in ("data", str(tmp_path / "far")):
        assert read_split(Source(local=local), "train", tmp_path / "tasks").rows == [ROW]


@pytest.mark.parametrize(
    "split", ["../outside/train", "/outside/train", "a/b", "..", ".", "", "a\0b", "x" * 10**4]
)
def test_split_name_that_is_a_path_is_refused(
    refusal: Refusal, tmp_path: Path, outside: Path, split: str
) -> None:
    write_rows(tmp_path / "tasks" / "data" / "test.jsonl", [ROW])
    split = split.replace("/outside", str(outside)) if split.startswith("/") else split
    assert refusal("data", split).startswith(str(tmp_path / "tasks" / "data"))


@pytest.mark.parametrize("local", ["a\0b", "x" * 10**4, "loop", "\u202egnp", "~nobody_of_this_name/x", " "])
def test_source_that_is_no_valid_folder_name_is_refused(refusal: Refusal, tmp_path: Path, local: str) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "loop").symlink_to("loop")
    assert refusal(local)


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "loop"])
def test_non_regular_files_are_never_opened(refusal: Refusal, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "tasks" / "data" / "train.jsonl"
    path.parent.mkdir(parents=True)
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
    assert "no train.jsonl, .json, .csv, .tsv, .xlsx or .parquet" in refusal("data")


def test_local_folder_named_like_a_hub_data_set_is_not_read_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fancyzhx" / "ag_news").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="'fancyzhx/ag_news' exists in the current folder"):
        read_split(Source(hub="fancyzhx/ag_news", revision="abc"), "train", tmp_path)


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet"])
def test_oversized_file_is_refused_before_it_is_read(refusal: Refusal, tmp_path: Path, ending: str) -> None:
    path = write_bytes(tmp_path / "tasks" / "data" / f"train.{ending}", b"x")
    os.truncate(path, 2**40)  # a sparse file of one terabyte
    assert refusal("data") == (
        f"{path}: 1,099,511,627,776 bytes; a file has at most 1,073,741,824; "
        "use the hub data set or shorten the file"
    )


def test_overlong_line_is_refused_with_its_number(refusal: Refusal, tmp_path: Path) -> None:
    good = json.dumps(ROW).encode() + b"\n"
    path = write_bytes(tmp_path / "tasks" / "data" / "train.jsonl", good + b"{" + b" " * 2**23)
    message = f"{path}, line 2: the row is too long; a row has at most 4,194,304 bytes"
    assert refusal("data").startswith(message)


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet"])
def test_file_with_too_many_rows_is_refused(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(row_files, "MAX_ROWS", 3)
    path = tmp_path / "tasks" / "data" / f"train.{ending}"
    path.parent.mkdir(parents=True)
    if ending == "json":
        path.write_text(json.dumps([ROW] * 4))
    else:
        write_rows(path, [ROW] * 4)
    assert refusal("data").startswith(f"{path}: too many rows; a file has at most 3 rows")


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_file_with_too_many_columns_is_refused(refusal: Refusal, tmp_path: Path, ending: str) -> None:
    names = [f"column{number}" for number in range(1_001)]
    rows = [{name: "x"} for name in names] if ending == "jsonl" else [dict.fromkeys(names, "x")]
    path = write_rows(tmp_path / "tasks" / "data" / f"train.{ending}", rows)
    assert refusal("data").startswith(f"{path}: 1,001 columns; the maximum is 1,000")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"text": "a", "text": "b"}', "duplicate key 'text' in one object"),
        ('{"text": {"a": 1, "b": 2, "b": 3}}', "duplicate key 'b' in one object"),
        ('{"text": NaN}', "NaN is not a finite number; use null for a missing value"),
        ('{"text": -Infinity}', "-Infinity is not a finite number; use null for a missing value"),
        ('{"text": 1e999}', "number 1e999 is too large"),
        ('{"text": ' + "9" * 5000 + "}", "too large or too deep"),
        ('{"text": ' + "[" * 100_000, "too large or too deep"),
        ('{"text": ' + '{"a":' * 100_000, "too large or too deep"),
        ('{"text": "a\0b"}', "Invalid control character at"),
        ("\ufeff" * 2 + "{}", "Unexpected UTF-8 BOM (decode using utf-8-sig)"),
    ],
    ids=lambda value: value[:24],
)
@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_ambiguous_or_invalid_json_is_refused_with_its_line(
    refusal: Refusal, tmp_path: Path, ending: str, row: str, message: str
) -> None:
    text = f"{row}\n" if ending == "jsonl" or row.startswith("\ufeff") else f"[{row}]"
    path = write_bytes(tmp_path / "tasks" / "data" / f"train.{ending}", text.encode())
    assert refusal("data").startswith(str(path))
    assert refusal("data").endswith(f"invalid JSON: {message}")


def test_deeply_nested_rows_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    task = classification(columns={"text": "{{ text | tojson }}!", "label": "label"})
    for depth in (10, 300, 600, 900):
        deep = "[" * depth + "]" * depth
        write_bytes(tmp_path / "data" / "train.jsonl", f'{{"text": {deep}, "label": "positive"}}'.encode())
        refused = refusal_of(lambda: train_examples(task, tmp_path))
        assert refused is None or "line 1" in refused
        assert depth > 10 or refused is None


@pytest.mark.parametrize("field", ["prompt", "choices"])
def test_lone_surrogate_in_an_example_is_refused_with_its_line(tmp_path: Path, field: str) -> None:
    half = {
        "q": "a",
        "x": "b",
        "y": "c",
        "label": 0,
        **({"q": "\ud800"} if field == "prompt" else {"y": "\ud800"}),
    }
    write_rows(tmp_path / "data" / "test.jsonl", [half])
    with pytest.raises(DataError, match=r"line 1: \\ud800 is half of a character"):
        eval_examples(multiple_choice(), tmp_path)


def test_null_is_not_read_as_the_label_none(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "train.jsonl", [{"text": "a", "label": None}])
    with pytest.raises(DataError, match="line 1: label None is not in the label set"):
        train_examples(classification(("None", "Some")), tmp_path)


def test_csv_header_with_a_duplicate_column_is_refused_at_any_length(
    refusal: Refusal, tmp_path: Path
) -> None:
    write_bytes(tmp_path / "tasks" / "data" / "train.csv", b"a,b,a\n1,2,3\n")
    assert refusal("data").endswith("train.csv: two columns are named 'a'")
    write_bytes(tmp_path / "tasks" / "data" / "train.csv", b"a," * 300_000 + b"a\n1\n")
    assert "300,001 columns; the maximum is 1,000" in refusal("data")


def parquet(folder: Path, table: pa.Table, **options: object) -> Path:
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "train.parquet", **options)
    return folder / "train.parquet"


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**62], pa.timestamp("ms")),
        pa.array([2**62], pa.duration("s")),
        pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")),
    ],
    ids=["year", "duration", "utf-8"],
)
def test_value_that_python_cannot_represent_is_refused_with_its_path(
    refusal: Refusal, tmp_path: Path, column: pa.Array
) -> None:
    path = parquet(tmp_path / "tasks" / "data", pa.table({"text": column}))
    assert refusal("data").startswith(f"{path}, row 1: column 'text' cannot be read: ")


def test_parquet_file_with_a_duplicate_column_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"])
    path = parquet(tmp_path / "tasks" / "data", table)
    assert refusal("data") == f"{path}: two columns are named 'text'"


def test_parquet_decompression_bomb_is_refused_quickly(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_files, "MAX_FILE_BYTES", 2**22)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000), pa.array(["x" * 10_000]))
    path = parquet(tmp_path / "tasks" / "data", pa.table({"text": texts.cast(pa.string())}))
    assert path.stat().st_size < 2**20
    assert refusal("data").startswith(f"{path}: the decoded content exceeds 4,194,304 bytes")


@settings(deadline=None, max_examples=15)  # each file is inspected in a new process
@given(at=st.integers(0, 2**16), byte=st.integers(0, 255), keep=st.integers(0, 2**16))
def test_damaged_or_truncated_parquet_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, keep: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "parquet" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), folder / "train.parquet")
    content = bytearray((folder / "train.parquet").read_bytes())
    content[at % len(content)] = byte
    (folder / "train.parquet").write_bytes(content[: max(1, keep % (2 * len(content)))])
    refusal_of(lambda: read_split(Source(local="data"), "train", folder.parent))


def test_metadata_that_ends_the_process_of_pyarrow_is_a_one_line_error(
    refusal: Refusal, tmp_path: Path
) -> None:
    path = parquet(tmp_path / "tasks" / "data", pa.table({"text": ["a", "b"], "label": [0, 1]}))
    content = path.read_bytes()
    histogram = content.rindex(bytes([0x19, 0x06, 0x19, 0x26]))  # an empty list of counts, then one of two
    path.write_bytes(content[: histogram + 1] + bytes([0x46]) + content[histogram + 2 :])
    assert refusal("data").startswith(f"{path}: cannot be read as PARQUET: ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
lines = st.one_of(
    st.dictionaries(st.sampled_from(["text", "label", "x"]), json_values, max_size=3).map(json.dumps),
    st.text(max_size=20),
    json_values.map(json.dumps),
)


@settings(deadline=None, max_examples=150)
@given(
    content=st.lists(lines, max_size=4).map("\n".join) | st.text(max_size=40),
    ending=st.sampled_from(["jsonl", "json", "csv"]),
)
def test_any_text_as_data_is_read_or_refused_in_one_line_with_the_file(
    tmp_path_factory: pytest.TempPathFactory, content: str, ending: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"any-{ending}" / "data"
    path = write_bytes(folder / f"train.{ending}", content.encode("utf-8", "surrogatepass"))
    refused = refusal_of(lambda: train_examples(classification(), folder.parent))
    assert refused is None or str(path) in refused
