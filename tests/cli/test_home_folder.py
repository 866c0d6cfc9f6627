"""`~` means the home folder in every path that a user gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lori_cl.cli.main import main
from lori_cl.errors import DataError
from tests.tiny import declare_task


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def test_tilde_is_expanded_in_the_path_of_a_task_file_and_of_its_data(
    home: Path, monkeypatch: pytest.MonkeyPatch, lori_cl: Callable[..., Any]
) -> None:
    declare_task(home / "data", "mood")
    (home / "mood.yaml").write_text((home / "data" / "mood.yaml").read_text())
    monkeypatch.setenv("LORI_CL_DATA", "~/data")
    done = lori_cl("add-task", "~/mood.yaml")
    assert (done.code, done.out) == (0, "mood: added (classification, 8 eval examples)\n")


def test_tilde_is_expanded_in_the_path_of_the_workspace(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORI_CL_WORKSPACE", "~/weekly")
    main(["init"], standalone_mode=False)
    assert (home / "weekly" / "registry.db").exists()


def test_error_about_a_missing_data_folder_names_the_expanded_path(
    home: Path, monkeypatch: pytest.MonkeyPatch, lori_cl: Callable[..., Any]
) -> None:
    declare_task(home / "elsewhere", "mood")
    file = home / "mood.yaml"
    file.write_text((home / "elsewhere" / "mood.yaml").read_text())
    monkeypatch.setenv("LORI_CL_DATA", "~/gone")
    done = lori_cl("add-task", file)
    assert done.code == DataError.exit_code
    assert str(home / "gone") in done.err
