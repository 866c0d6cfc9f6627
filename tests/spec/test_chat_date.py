"""The date for a chat template is declared in the task."""

from __future__ import annotations

from pathlib import Path

import pytest

from lori_cl.errors import SpecError
from lori_cl.spec import load_task, task_from_record

FILE = """
name: x
kind: {kind}
source: {{local: x}}
prompt: "{{{{ q }}}}"
answer: "{{{{ a }}}}"
{more}
"""
MORE = {
    "generation": "",
    "safety": "expect: refuse",
    "code": 'program: "{{ completion }}"',
    "multiple_choice": "choices: [a, b]",
    "classification": "labels: [a, b]",
}


def declared(folder: Path, kind: str, *fields: str) -> Path:
    file = folder / "x.yaml"
    text = FILE.format(kind=kind, more="\n".join((MORE[kind], *fields)))
    file.write_text(text.replace('answer: "{{ a }}"\n', "") if kind == "classification" else text)
    return file


@pytest.mark.parametrize("kind", MORE)
def test_chat_task_records_a_date(kind: str, tmp_path: Path) -> None:
    spec = load_task(declared(tmp_path, kind, "chat: true"))
    assert spec.to_record()["date"] == "2024-07-26"
    assert task_from_record(spec.to_record()) == spec


@pytest.mark.parametrize("kind", MORE)
@pytest.mark.parametrize("written", ["2026-11-27", "'2026-11-27'"])
def test_declared_date_is_recorded(kind: str, written: str, tmp_path: Path) -> None:
    spec = load_task(declared(tmp_path, kind, "chat: true", f"date: {written}"))
    assert spec.to_record()["date"] == "2026-11-27"


def test_order_of_the_fields_does_not_matter(tmp_path: Path) -> None:
    spec = load_task(declared(tmp_path, "generation", "date: 2026-11-27", "chat: true"))
    assert spec.to_record()["date"] == "2026-11-27"


def test_task_without_a_chat_has_no_date(tmp_path: Path) -> None:
    assert load_task(declared(tmp_path, "generation")).to_record()["date"] is None


def test_record_without_a_date_uses_the_default(tmp_path: Path) -> None:
    spec = load_task(declared(tmp_path, "generation", "chat: true"))
    older = {field: value for field, value in spec.to_record().items() if field != "date"}
    assert task_from_record(older) == spec


@pytest.mark.parametrize(
    "written", ["20261127", "today", "2026-11-27 10:00:00", "'2026-13-27'", "'20261127'", "true", "[2026]"]
)
def test_invalid_date_is_refused(written: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"x.yaml, line 9: 'date' should be a date such as 2026-11-27, not "):
        load_task(declared(tmp_path, "generation", "chat: true", f"date: {written}"))


def test_unused_date_is_refused(tmp_path: Path) -> None:
    message = "line 8: date is only used by a chat template; set chat: true or remove date"
    with pytest.raises(SpecError, match=message):
        load_task(declared(tmp_path, "generation", "date: 2026-11-27"))
