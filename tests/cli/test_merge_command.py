"""The command `lori-cl merge`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.adapters import MERGES
from lori_cl.cli.merge import METHOD_NAMES

Call = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]


@pytest.fixture
def trained(
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    train_once: Callable[[Callable[[], object]], None],
) -> None:
    """Train a run 'first' over tasks a and b."""

    def train() -> None:
        lori_cl("add-task", write_task("a"), write_task("b"))
        isolated = {"rank": 4, "alpha": 8, "composition": "isolated"}
        code, _, err = lori_cl("run", write_curriculum("a", "b", adapter=isolated), "--name", "first")
        assert code == 0, err

    train_once(train)


@pytest.mark.usefixtures("trained")
def test_merge_is_written_scored_and_printed(lori_cl: Call, tmp_path: Path) -> None:
    arguments = ("merge", "first", "--tasks", "a,b", "--method", "cat", "--weights", "0.4,0.4", "--evaluate")
    code, table, err = lori_cl(*arguments, "--out", tmp_path / "one")
    assert (code, err) == (0, "")
    code, out, _ = lori_cl(*arguments, "--out", tmp_path / "two", "--json")
    record = json.loads(out)
    assert code == 0
    assert [(part["run"], part["task"], part["weight"]) for part in record["adapters"]] == [
        ("first", "a", 0.4),
        ("first", "b", 0.4),
    ]
    for score in record["scores"]:
        (line,) = [line for line in table.splitlines() if line.startswith(f"{score['task']} ")]
        assert line.split()[:4] == [
            score["task"],
            "accuracy",
            f"{100 * score['own']:.1f}",
            f"{100 * score['merged']:.1f}",
        ]
    assert "cat: 0.4 a + 0.4 b, rank 4" in table
    one, two = ((tmp_path / n / "adapter_model.safetensors").read_bytes() for n in ("one", "two"))
    assert one == two


@pytest.mark.usefixtures("trained")
def test_merge_without_scores_can_be_printed_as_json(lori_cl: Call, tmp_path: Path) -> None:
    code, out, err = lori_cl("merge", "first", "--tasks", "a,b", "--out", tmp_path / "out", "--json")
    assert (code, err) == (0, "")
    assert (json.loads(out)["out"], json.loads(out)["scores"]) == (str(tmp_path / "out"), [])


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("method", "used"),
    [
        (["--method", "cat"], (None, None, None)),
        (["--method", "ties", "--density", "0.5"], ("b", 0.5, None)),
        (["--method", "dare", "--density", "0.5"], ("b", 0.5, 0)),
    ],
    ids=["cat", "ties", "dare"],
)
def test_only_the_settings_used_by_the_method_are_recorded(
    lori_cl: Call, tmp_path: Path, method: list[str], used: tuple[object, ...]
) -> None:
    arguments = ("merge", "first", "--tasks", "a,b", *method, "--out", tmp_path / "out", "--json")
    code, out, err = lori_cl(*arguments)
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert (record["on"], record["density"], record["seed"]) == used


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "0.4;0.4"], "'0.4;0.4' is not a list of numbers separated by commas"),
        (["--weights", "0.4"], "2 adapters, but 1 weights"),
        (["--method", "tiess"], "Did you mean 'ties'?"),
        (["--rank", "2"], "'cat' does not prune, so it accepts no --rank"),
        (["--on", "b", "--seed", "3"], "'cat' does not prune, so it accepts no --on b or --seed"),
        (["--weights", "0,0"], "with the weights 0, 0, the adapter is zero everywhere"),
    ],
)
def test_invalid_merge_options_are_a_one_line_error(
    lori_cl: Call, tmp_path: Path, options: list[str], message: str
) -> None:
    code, out, err = lori_cl("merge", "first", "--tasks", "a,b", "--out", tmp_path / "out", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_help_names_every_built_in_merge_method() -> None:
    assert tuple(MERGES.built_in) == METHOD_NAMES
