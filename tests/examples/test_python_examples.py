"""The Python examples run, and print what they promise."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

PYTHON = Path(__file__).parents[2] / "examples" / "python"


def test_first_run_shows_that_a_task_id_prevents_forgetting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(str(PYTHON / "first_run.py"))["main"](tmp_path / "work")
    printed = capsys.readouterr().out
    assert printed.count("backward transfer: ") == 2
    assert "view as_trained, scores after each stage:" in printed
    assert "backward transfer: +0.000" in printed
    assert (tmp_path / "work" / "report.html").is_file()


def test_own_loop_keeps_the_first_task_bit_by_bit(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(PYTHON / "own_loop.py"))["main"]()
    printed = capsys.readouterr().out
    assert "colours after stage 'sizes': equal bit by bit" in printed
    assert "saved and loaded: logits equal" in printed


def test_notebook_runs_and_shows_a_matrix() -> None:
    notebook = json.loads((PYTHON / "notebook.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert names["run"].status == "done"
    assert "<table" in names["run"].matrix("current")._repr_html_()
