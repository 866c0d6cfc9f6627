"""How `lori-cl predict --file` splits a file into lines."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from lori_cl.cli.predict import _lines


def test_only_a_line_feed_separates_lines(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes('{"text": "one\u2028two\u0085three"}\r\nfour'.encode())
    assert _lines(file) == ('{"text": "one\u2028two\u0085three"}', "four")


def test_error_about_a_missing_file_names_it_once(tmp_path: Path) -> None:
    with pytest.raises(click.FileError) as raised:
        _lines(tmp_path / "absent")
    assert raised.value.format_message().count("absent") == 1
