"""Any file content gives a declaration or a one-line error."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lori_cl import digest
from lori_cl.errors import SpecError
from lori_cl.spec import load_curriculum, load_task
from lori_cl.spec.yaml_lines import MAX_BYTES, MAX_TOKENS

from .conftest import CURRICULUM, TASK, Write


def refusal(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load_task(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_file_is_reported_with_the_existing_files(tmp_path: Path) -> None:
    (tmp_path / "agnews.yaml").write_text(TASK)
    message = refusal(tmp_path / "agnwes.yaml")
    assert message == f"{tmp_path}/agnwes.yaml: no such file; available: agnews.yaml"


def test_missing_folder_is_reported(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none" / "a.yaml") == f"{tmp_path}/none/a.yaml: no such file"


def test_folder_instead_of_a_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path}: no such file")


def test_file_that_is_not_utf_8_is_reported_with_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"name: caf\xe9\n")
    message = refusal(path)
    assert message.startswith(f"{path}: byte 9 is not UTF-8")


def test_huge_file_is_refused_with_its_size(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    assert refusal(path) == f"{path}: 262,145 bytes; a spec has at most 262,144"


@pytest.mark.parametrize("sign", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_with_its_line(write: Write, sign: str) -> None:
    value = "\n  " + sign * 3000 if sign in "- ? " else sign * 3000
    line = 9 if sign in "- ? " else 8
    assert refusal(path := write(f"{TASK}description: {value}")) == (
        f"{path}, line {line}: nested too deeply; a spec has at most 32 levels"
    )


def test_oversized_spec_is_refused_with_the_line_where_the_limit_is_reached(write: Write) -> None:
    path = write(TASK.replace("[World, Sports]", f"[{'x, ' * MAX_TOKENS}]"))
    assert refusal(path) == f"{path}, line 6: too many YAML tokens; a spec has at most 10,000"


def test_five_thousand_labels_below_the_limit_are_accepted(write: Write) -> None:
    labels = [f"label{number}" for number in range(MAX_TOKENS // 2 - 100)]
    assert load_task(write(TASK.replace("[World, Sports]", f"[{', '.join(labels)}]"))).labels == tuple(labels)


@pytest.mark.parametrize(
    "number",
    ["9" * 101, "1" + ":59" * 50, "1" + ":59" * 50 + ".5", "0x" + "f" * 100, '!!int "1"_' + "_" * 99],
)
def test_number_of_more_than_a_hundred_characters_is_refused(write: Write, number: str) -> None:
    assert refusal(path := write(f"{TASK}seed: {number}\n")).startswith(f"{path}, line 8: ")


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("!!set {a, b}", "set"),
        ("!!omap [a: b]", "omap"),
        ("!!binary aGk=", "binary"),
        ("!mine a", "!mine"),
        ("!!python/object/apply:os.system [id]", "python/object/apply:os.system"),
        ("=", "value"),
    ],
)
def test_non_plain_yaml_value_is_refused_with_its_name(write: Write, value: str, tag: str) -> None:
    # The order of a set differs between processes, and the order of labels has a meaning.
    message = refusal(path := write(f"{TASK}description: {value}\n"))
    assert message.startswith(f"{path}, line 8: '{tag}' is not plain text, a number, a list or a mapping")


def test_yaml_merge_key_is_refused(write: Write) -> None:
    assert refusal(path := write(TASK + "<<: {name: other}\n")).startswith(f"{path}, line 8: 'merge' is no")


def test_yaml_alias_is_refused_with_its_name(write: Write) -> None:
    assert refusal(path := write(TASK + "eval: &a {split: test}\ntrain: *a\n")) == (
        f"{path}, line 9: '*a' is a YAML alias; write the value out"
    )


@pytest.mark.parametrize(
    "hub",
    ["json", "pandas", "./data", "../data/x", "/etc/x", "a/../../b", "~/data", "a/b/c", "hf://a/b", "a\nb/c"],
)
def test_invalid_hub_data_set_name_is_refused(write: Write, hub: str) -> None:
    # For these, `datasets` would read a local folder or run one of its own readers.
    source = json.dumps({"hub": hub, "revision": "abc"})
    message = refusal(path := write(TASK.replace("\n  local: agnews", f" {source}")))
    assert message.startswith(f"{path}, line 3: source.hub should be a data set's OWNER/NAME on the hub")


def test_yaml_syntax_error_is_reported_with_its_line(write: Write) -> None:
    message = refusal(path := write("name: a\nkind: classification\nlabels: [a, b\nseed: 0\n"))
    assert message.startswith(f"{path}, line 4: ")


def test_tab_is_reported_with_its_line(write: Write) -> None:
    assert refusal(path := write("name: a\nsource:\n\tlocal: b\n")).startswith(f"{path}, line 3: ")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_empty_file_is_refused(write: Write, text: str) -> None:
    assert refusal(path := write(text)).startswith(f"{path}, line 1: expected 'field: value' lines")


@pytest.mark.parametrize(("text", "found"), [("- name: a\n", "list"), ("agnews\n", "str"), ("3\n", "int")])
def test_file_that_is_not_a_mapping_is_refused_with_its_type(write: Write, text: str, found: str) -> None:
    message = refusal(path := write(text))
    assert message.startswith(f"{path}, line 1: expected 'field: value' lines")
    assert message.endswith(found)


def test_second_document_in_the_file_is_refused(write: Write) -> None:
    assert refusal(path := write(TASK + "---\n" + TASK)).startswith(f"{path}, line 8: ")


def test_duplicate_field_is_reported_with_both_lines(write: Write) -> None:
    assert refusal(path := write(TASK + "name: other\n")) == (
        f"{path}, line 8: 'name' is already set in line 1; remove one"
    )


def test_duplicate_nested_field_is_reported_with_both_lines(write: Write) -> None:
    message = refusal(path := write(TASK.replace("  local: agnews", "  local: agnews\n  local: other")))
    assert message.startswith(f"{path}, line 5: 'local' is already set in line 4")


def test_byte_order_mark_and_windows_line_endings_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + TASK.replace("\n", "\r\n").encode())
    assert load_task(path).name == "agnews"


@pytest.mark.parametrize("key", ["1", "~", "yes", "3.5", "2001-01-01"])
def test_field_name_that_is_not_text_is_refused(write: Write, key: str) -> None:
    assert refusal(path := write(f"{TASK}{key}: x\n")).startswith(f"{path}, line ")


@pytest.mark.parametrize(
    "value",
    [
        '!!int ""',
        '!!float ""',
        "!!bool maybe",
        "!!timestamp soon",
        "2001-99-99",
        '"\\U99999999"',
        "!!python/name:os.system x",
        "[" * 3000,
    ],
)
def test_value_that_yaml_cannot_construct_is_refused_with_the_file(write: Write, value: str) -> None:
    assert refusal(path := write(f"{TASK}description: {value}\n")).startswith(str(path))


def test_recursive_mapping_is_refused(write: Write) -> None:
    assert refusal(path := write(TASK + "train: &a\n  split: *a\n")).startswith(str(path))


def test_billion_laughs_file_is_refused_quickly(write: Write) -> None:
    billion_laughs = "".join(
        f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 11)
    )
    path = write(f"{TASK}a0: &a0 [x]\n{billion_laughs}")
    begin_s = time.perf_counter()
    assert refusal(path).startswith(str(path))
    assert time.perf_counter() - begin_s < 1.0


def test_lone_surrogate_is_refused(write: Write) -> None:
    message = refusal(path := write(TASK + 'description: "\\ud800"\n'))
    assert message.startswith(f"{path}, line 8: ")


@pytest.mark.parametrize(
    "line",
    ['name: "a\\nb"', '"a\\nb": 1', 'metric: "a\\nb"', 'eval: {"a\\nb": 1}', 'labels: ["a\\nb", "a\\nb"]'],
)
def test_line_break_in_the_file_does_not_reach_the_message(write: Write, line: str) -> None:
    field = line.partition(":")[0]
    lines = [line for line in TASK.splitlines() if not line.startswith(field)]
    assert refusal(path := write("\n".join([*lines, line]))).startswith(f"{path}, line ")


@pytest.mark.parametrize("place", ["seed: {}\n", "eval: {{limit: {}}}\n", "description: {}\n"])
def test_number_of_six_thousand_digits_is_refused(write: Write, place: str) -> None:
    assert refusal(path := write(TASK + place.format("0x" + "f" * 5000))).startswith(str(path))


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.dates(),
    st.sampled_from(["yes", "lori", "sst2", "classification", "5e-3", "", "~"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text("abc", max_size=2) | st.integers() | st.none(), inner, max_size=3),
    ),
    max_leaves=6,
)
WORDS = ["&a", "*a", "!!int", "!!str", "!!bool", "!!set", "<<", "x", "0x", "1:2", ".inf", "2001-13-01"]
MARKS = ["- ", "? ", '""', "\n  ", *"'[]{},:|>#%@\t\n"]
invalid_values = st.one_of(
    values.map(lambda value: yaml.safe_dump(value, default_flow_style=True).strip()),
    st.lists(
        st.sampled_from(WORDS + MARKS),
        max_size=8,
    ).map(" ".join),
    st.text(max_size=12),
)


@st.composite
def broken_documents(draw: st.DrawFn) -> str:
    """A valid document with lines removed, duplicated, indented or given another value."""
    lines = draw(st.sampled_from([TASK, CURRICULUM])).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        key = lines[at].partition(":")[0]
        lines[at : at + 1] = draw(
            st.sampled_from(
                [
                    [],
                    [lines[at]] * 2,
                    ["  " + lines[at]],
                    [lines[at].strip()],
                    [f"{key}: {draw(invalid_values)}"],
                ]
            )
        )
        lines = lines or [draw(invalid_values)]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("broken") / "spec.yaml"


def assert_recordable_or_refused(path: Path) -> None:
    for load in (load_task, load_curriculum):
        message = None
        try:
            spec = load(path)
        except SpecError as refused:
            message = str(refused)
        if message is None:
            assert len(digest.of_json(spec.to_record())) == 64
        else:
            assert str(path) in message
            assert "\n" not in message


@given(text=broken_documents())
def test_broken_document_is_recordable_or_refused_without_a_traceback(scratch: Path, text: str) -> None:
    scratch.write_text(text, encoding="utf-8")
    assert_recordable_or_refused(scratch)


@given(content=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_recordable_or_refused_without_a_traceback(scratch: Path, content: bytes) -> None:
    scratch.write_bytes(content)
    assert_recordable_or_refused(scratch)
