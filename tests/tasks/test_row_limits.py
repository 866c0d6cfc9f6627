"""Small files do not fill memory, and columns that a task does not read never cause a refusal."""

from __future__ import annotations

import datetime
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lori_cl.errors import DataError
from lori_cl.spec.task import Source
from lori_cl.tasks import row_files, train_examples
from lori_cl.tasks.sources import read_split

from .task_files import classification, generation, multiple_choice, write_bytes, write_rows

PEAK = 48 * 2**20
"""Bytes; without limits the files here take many times that."""


@pytest.fixture(autouse=True)
def lowered_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a hundredth of the limits, so that the tests are fast."""
    monkeypatch.setattr(row_files, "FREE_BYTES", 2**21)
    monkeypatch.setattr(row_files, "GROWTH", 2)
    monkeypatch.setattr(row_files, "FREE_ROWS", 20_000)


@contextmanager
def little_memory() -> Iterator[None]:
    """Check that Python and Arrow allocate little memory."""
    pool = pa.proxy_memory_pool(pa.system_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1] + pool.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)
    assert peak < PEAK, f"{peak:,} bytes"


def parquet(tmp_path: Path, table: pa.Table) -> Path:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "train.parquet"
    pq.write_table(table, path, compression="zstd", store_schema=False)
    return path


@pytest.mark.nightly
def test_wide_row_before_many_empty_rows_stays_within_the_memory_limit(tmp_path: Path) -> None:
    wide = json.dumps({f"c{i}": 1 for i in range(999)})
    write_bytes(tmp_path / "data" / "train.jsonl", f"{wide}\n".encode() + b"{}\n" * 20_000)
    with little_memory(), pytest.raises(DataError, match=r"line 1: answer: 'a' is undefined"):
        train_examples(generation(), tmp_path)
    everything = "".join(f"{{{{ c{i} }}}}" for i in range(999))
    with little_memory(), pytest.raises(DataError, match="the decoded content exceeds"):
        train_examples(generation(prompt=everything, answer="{{ c0 }}"), tmp_path)


@pytest.mark.nightly
def test_unread_columns_of_nulls_take_no_memory(tmp_path: Path) -> None:
    nulls = {f"c{i}": pa.nulls(15_000) for i in range(500)}
    path = parquet(tmp_path, pa.table({"q": ["a"] * 15_000, "a": ["b"] * 15_000, **nulls}))
    assert path.stat().st_size < 2**19
    with little_memory():
        assert len(train_examples(generation(), tmp_path)) == 15_000


def test_large_columns_of_nulls_are_refused_when_read(tmp_path: Path) -> None:
    parquet(tmp_path, pa.table({f"c{i}": pa.nulls(15_000) for i in range(500)}))
    with pytest.raises(DataError, match="the decoded content exceeds"):
        read_split(Source(local="data"), "train", tmp_path)


def test_long_text_repeated_in_every_row_is_refused(tmp_path: Path) -> None:
    once = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), pa.array(["x" * 10**6]))
    path = parquet(tmp_path, pa.table({"q": once, "a": ["b"] * 10_000}))
    assert path.stat().st_size < 2**16
    with little_memory(), pytest.raises(DataError, match="the decoded content exceeds"):
        train_examples(generation(), tmp_path)


def test_very_long_list_in_one_row_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    values = pa.ListArray.from_arrays(pa.array([0, 5_000_000]), pa.nulls(5_000_000, pa.int8()))
    path = parquet(tmp_path, pa.table({"q": ["a"], "x": ["a"], "y": values, "label": [0]}))
    assert path.stat().st_size < 2**16
    with little_memory(), pytest.raises(DataError, match="a row has at most 4,194,304 bytes"):
        train_examples(multiple_choice(choices="y"), tmp_path)


def test_more_rows_than_bytes_are_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path, pa.table({"q": ["a"] * 100_000, "a": ["b"] * 100_000}))
    assert path.stat().st_size < 50_000
    with pytest.raises(DataError, match="a file has at most"):
        train_examples(generation(), tmp_path)


def test_nested_lists_in_a_json_line_are_counted(tmp_path: Path) -> None:
    line = '{"q": [' + "[]," * 50_000 + '[]], "a": "b"}\n'
    write_bytes(tmp_path / "data" / "train.jsonl", line.encode() * 20)
    with little_memory(), pytest.raises(DataError, match="the decoded content exceeds"):
        train_examples(generation(prompt="{{ q | length }}"), tmp_path)


@pytest.mark.parametrize("cell", ["x" * 5_000_000, "\n" * 5_000_000, '""' * 3_000_000])
def test_csv_cell_may_be_as_long_as_the_row_limit(tmp_path: Path, cell: str) -> None:
    write_bytes(tmp_path / "data" / "train.csv", f'q,a\nx,y\n"{cell}",b\n'.encode())
    with pytest.raises(DataError, match=r"train\.csv, line \d+: (the row is too long|cannot be read as)"):
        train_examples(generation(), tmp_path)


def test_json_list_item_may_be_as_long_as_the_row_limit(tmp_path: Path) -> None:
    write_bytes(
        tmp_path / "data" / "train.json", b'[{"q": "x", "a": "y"}, {"q": "' + b"x" * 5_000_000 + b'"}]'
    )
    with pytest.raises(DataError, match=r"train\.json, line 1: .* an item has more than 4,194,304 char"):
        train_examples(generation(), tmp_path)


def unread() -> dict[str, pa.Array]:
    """Columns that Python cannot represent or that cannot become text."""
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff"))
    return {
        "year": pa.array([2**62], pa.timestamp("ms")),
        "length": pa.array([2**62], pa.duration("s")),
        "utf8": broken,
        "image": pa.array([b"\xff" * 100]),
        "day": pa.array([datetime.date(2024, 1, 2)]),
        "null": pa.nulls(1),
        "table": pa.array([{"a": {"b": [1]}}]),
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
    }


def test_unread_parquet_columns_never_cause_a_refusal(tmp_path: Path) -> None:
    parquet(tmp_path, pa.table({"q": ["x"], "a": ["y"], **unread()}))
    assert [(e.text, e.target) for e in train_examples(generation(), tmp_path)] == [("x", "y")]


@pytest.mark.parametrize("column", ["year", "utf8"])
def test_unreadable_parquet_value_is_reported_with_column_and_row(tmp_path: Path, column: str) -> None:
    path = parquet(tmp_path, pa.table({"q": ["x"], "a": ["y"], **unread()}))
    with pytest.raises(DataError) as refused:
        train_examples(generation(prompt=f"{{{{ q }}}} {{{{ {column} }}}}"), tmp_path)
    assert str(refused.value).startswith(f"{path}, row 1: column '{column}' cannot be read: ")


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_duplicate_columns_are_refused_only_when_read(tmp_path: Path, ending: str) -> None:
    if ending == "parquet":
        names, arrays = ["q", "a", "twice", "twice"], [pa.array([value]) for value in "xyzz"]
        parquet(tmp_path, pa.Table.from_arrays(arrays, names))
    else:
        write_bytes(tmp_path / "data" / "train.csv", b"q,a,twice,twice\nx,y,z,z\n")
    assert len(train_examples(generation(), tmp_path)) == 1
    with pytest.raises(DataError, match="two columns are named 'twice'"):
        train_examples(generation(prompt="{{ twice }}"), tmp_path)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_unread_columns_do_not_count_towards_the_column_limit(tmp_path: Path, ending: str) -> None:
    row = {"q": "x", "a": "y", **{f"c{i}": "z" for i in range(1_200)}}
    write_rows(tmp_path / "data" / f"train.{ending}", [row])
    assert len(train_examples(generation(), tmp_path)) == 1


def test_undefined_column_is_reported_with_all_columns_of_the_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "train.csv", [{"q": "x", "a": "y", "other": "z"}])
    with pytest.raises(DataError, match=r"'qq' is undefined\. Columns: q, a, other\."):
        train_examples(generation(prompt="{{ qq }}"), tmp_path)


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet"])
def test_every_file_format_gives_the_same_examples(tmp_path: Path, ending: str) -> None:
    rows = [{"text": f"t{i} “é”\n", "label": "positive", "x": str(i)} for i in range(2_500)]
    path = tmp_path / "data" / f"train.{ending}"
    if ending == "json":
        write_bytes(path, json.dumps(rows).encode())
    else:
        write_rows(path, rows)
    found = train_examples(classification(columns={"text": "{{ text }}{{ x }}"}), tmp_path)
    assert [(e.id, e.text) for e in found] == [(i, f"t{i} “é”\n{i}") for i in range(2_500)]
