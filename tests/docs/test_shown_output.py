"""Recorded outputs in the documentation agree with the registry, with each other and with the code."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

import lori_cl as cl
from lori_cl import errors
from lori_cl.spec import load_curriculum, load_task
from tests.docs.pages import DOCS, ROOT, blocks
from tests.verify_checks import ALL_CHECKS

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]


def output_of(page: str, command: str) -> list[str]:
    """Return the lines that a page shows below a command."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    [found] = [block.code for block in blocks(text) if block.code.startswith(f"$ {command}\n")]
    return found.splitlines()[1:]


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", "").rstrip("="))


def matrices(text: str) -> list[list[str]]:
    """Return the lines of every matrix in a page's blocks, from `View` to the last stage."""
    code = "\n".join(block.code for block in blocks(text) if block.language == "")
    return [found.splitlines() for found in re.findall(r"^View .*?(?=\n\n)", code, re.M | re.S)]


def test_the_readme_has_at_most_1300_words() -> None:
    assert len(README.split()) <= 1300


def test_the_matrices_of_the_readme_are_those_of_the_demo_page() -> None:
    documented, recorded = matrices(README), matrices((ROOT / "docs/demo.md").read_text(encoding="utf-8"))
    assert len(documented) == 2
    assert all(matrix in recorded for matrix in documented)


@pytest.mark.parametrize("page", ["README.md", "docs/demo.md"])
def test_changes_in_a_shown_matrix_are_differences_to_the_diagonal(page: str) -> None:
    found = matrices((ROOT / page).read_text(encoding="utf-8"))
    assert found
    for _, _, _, _, *rows in found:
        learned: list[float] = []
        for row in rows:
            cells = [cell for cell in row.split()[2:] if cell != "·"]
            scores = [number(cell) for cell in cells[::2]]
            assert [number(change) for change in cells[1::2]] == pytest.approx(
                [score - first for score, first in zip(scores, learned, strict=False)],
                abs=0.11,  # three rounded numbers
            )
            learned.append(scores[-1])


@pytest.mark.parametrize("run", ["real-text-lori", "real-text-sequential-lora"])
def test_the_results_of_the_real_run_in_the_readme_are_those_of_the_registry(run: str) -> None:
    registered = cl.Workspace(ROOT).get_run(run)
    columns = slice(1, 3) if run == "real-text-lori" else slice(3, 5)
    for metric, label in (("acc", "Final average, %"), ("bwt", "Backward transfer, points")):
        [row] = [line for line in README.splitlines() if line.startswith(f"| {label} |")]
        documented = [number(cell) for cell in row.split("|")[2:-1]][columns.start - 1 : columns.stop - 1]
        values = [registered.metrics(view)[metric] for view in ("as_trained", "current")]
        assert documented == [round(100 * (value or 0.0), 1) for value in values]


def test_results_of_the_language_model_page_are_those_of_the_registry() -> None:
    page = (ROOT / "docs" / "real-llm.md").read_text(encoding="utf-8")
    names = ("real-llm-lori", "real-llm-null-space", "real-llm-sequential-lora")
    runs = [cl.Workspace(ROOT).get_run(name) for name in names]

    def documented(label: str) -> list[float]:
        [row] = re.findall(rf"^\| {re.escape(label)} \| \d.*", page, re.MULTILINE)
        return [number(cell) for cell in row.split("|")[2:-1]]

    for view in ("as_trained", "routed", "current"):
        metrics = [100 * (run.metrics(view)["acc"] or 0.0) for run in runs]
        assert documented(f"Final average, `{view}`, %") == pytest.approx(metrics, abs=0.051)
    for task in runs[0].tasks:
        scores = [
            100 * run.matrix(v).to_pandas()[task].iloc[-1] for run in runs for v in ("as_trained", "current")
        ]
        assert documented(task) == pytest.approx(scores, abs=0.051)


def test_scores_that_the_real_run_page_shows_are_those_of_the_registry() -> None:
    run = cl.Workspace(ROOT).get_run("real-text-lori")
    views = {view: run.matrix(view).to_pandas() for view in ("as_trained", "current")}
    routed = output_of("real-run.md", "lori-cl route real-text-lori")
    for task in run.tasks:
        [row] = [line.split() for line in routed[3:8] if line.startswith(task)]
        assert [number(cell) for cell in row[1:3]] == [
            round(100 * views[view][task].iloc[-1], 1) for view in ("as_trained", "current")
        ]
    current, stages = views["current"], {task: i for i, task in enumerate(run.tasks, start=1)}
    for line in output_of("real-run.md", "lori-cl interference real-text-lori")[2:-1]:
        earlier, later, *_, change = line.split()
        before, after = (current[earlier].iloc[stages[later] - step] for step in (1, 0))
        assert number(change) == pytest.approx(100 * (after - before), abs=0.051)


def test_checks_that_the_verification_page_shows_exist_in_this_order() -> None:
    documented = [
        line.split(":")[0] for line in output_of("verification.md", "lori-cl verify real-text-lori")
    ]
    assert len(documented) == 14
    order = ALL_CHECKS
    assert all(order.index(one) < order.index(other) for one, other in pairwise(documented))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_errors_that_a_page_shows_exist(page: Path) -> None:
    code = "\n".join(block.code for block in blocks(page.read_text(encoding="utf-8")))
    names = re.findall(r"^([A-Z]\w+[a-z]\w*): \S.* \S", code, re.MULTILINE)
    documented = [name for name in names if name[1:].lower() != name[1:]]
    assert [name for name in documented if not hasattr(errors, name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_blocks_are_valid_files(page: Path, tmp_path: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "yaml":
            file = tmp_path / "block.yaml"
            file.write_text(block.code, encoding="utf-8")
            if "\nkind:" in block.code:
                load_task(file)
            else:
                load_curriculum(file)


PRINTED_BY = {
    "lori-cl ": [],
    "python benchmarks/": ["benchmarks"],
    "python -m tests.crash": ["tests/crash"],
    "python -m tests.fuzz": ["tests/fuzz"],
    "pytest tests/serving/": ["tests/serving"],
}
"""A part of a command, and the folders besides lori_cl whose modules print its output."""

WORD = re.compile(r"[A-Za-z][a-z]{3,}")
TASKS = {
    word
    for folder in ("tasks", "examples")
    for file in (ROOT / folder).rglob("*.yaml")
    for word in WORD.findall(file.stem)
}


def unknown_words(code: str) -> set[str]:
    """Return the words below the commands of a block that no module behind the commands contains.

    Outputs that took minutes or hours are not recorded again; this finds renamed columns and messages.
    Raises: AssertionError: nothing is known about a command.
    """
    lines = code.splitlines()
    commands = [line for line in lines if line.startswith("$ ")]
    known = [part for command in commands for part in PRINTED_BY if part in command]
    assert len(known) >= len(commands), f"add the command to PRINTED_BY: {commands}"
    folders = {"lori_cl", *(folder for part in known for folder in PRINTED_BY[part])}
    modules = [file for folder in sorted(folders) for file in (ROOT / folder).rglob("*.py")]
    source = {word for file in modules for word in WORD.findall(file.read_text(encoding="utf-8"))}
    return {word for line in lines if line not in commands for word in WORD.findall(line)} - source - TASKS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_words_of_a_shown_output_are_in_the_code_that_prints_it(page: Path) -> None:
    documented = [block for block in blocks(page.read_text(encoding="utf-8")) if block.code.startswith("$ ")]
    assert {
        f"line {block.line}: {word}" for block in documented for word in unknown_words(block.code)
    } == set()


def test_renamed_column_of_a_shown_output_is_found() -> None:
    assert unknown_words("$ lori-cl route first\ntask  routing accurracy\n") == {"accurracy"}
    with pytest.raises(AssertionError, match="add the command"):
        unknown_words("$ other-program\nresult\n")
