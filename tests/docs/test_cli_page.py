from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import click
import pytest

from lori_cl.cli.main import main
from tests.docs.pages import ROOT


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("generate_cli_reference")


def test_the_command_line_page_is_up_to_date(generator: ModuleType) -> None:
    assert generator.main(["--check"]) == 0, "run: python docs/generate_cli_reference.py"


def test_check_fails_on_a_stale_page_and_regenerating_fixes_it(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "PAGE", tmp_path / "cli.md")
    assert generator.main(["--check"]) == 1
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    generator.PAGE.write_text(generator.PAGE.read_text().replace("--workspace", "--wrkspace"))
    assert generator.main(["--check"]) == 1
    assert "cli.md is stale" in capsys.readouterr().err


def test_the_page_lists_every_command_and_option(generator: ModuleType) -> None:
    page = generator.page()
    with click.Context(main) as context:
        for name in main.list_commands(context):
            command = main.get_command(context, name)
            assert command is not None
            section = page.split(f"\n## `lori-cl {name}`\n")[1].split("\n## ")[0]
            options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
            assert [each.opts for each in options if each.opts[-1] not in section] == []
