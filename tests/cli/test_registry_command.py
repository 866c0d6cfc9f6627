"""The command `lori-cl registry` and commands on a PostgreSQL registry."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from lori_cl.registry import Workspace
from lori_cl.registry.tables import SCHEMA
from tests.postgres import PASSWORD, Postgres
from tests.registry.registry_records import snapshot
from tests.serving.forging import downgrade

Call = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]


def test_commands_name_the_upgrade_of_an_old_registry_and_it_works(
    lori_cl: Call, workspace: Workspace
) -> None:
    downgrade(workspace, "0001")
    for named in (["tasks"], ["init"]):
        code, _, err = lori_cl(*named)
        assert code == 2
        assert err.strip().endswith("Upgrade it: lori-cl registry upgrade")
    code, out, _ = lori_cl("registry", "upgrade")
    first, second = out.splitlines()
    (backup_file,) = workspace.root.glob("registry-schema-0001-*.db")
    assert code == 0
    assert first == f"Upgraded schema 0001 to {SCHEMA}"
    assert second == f"Backup of the earlier registry: {backup_file} ({backup_file.stat().st_size:,} bytes)"
    assert lori_cl("tasks")[0] == 0


def test_upgrade_with_no_backup_writes_no_backup(lori_cl: Call, workspace: Workspace) -> None:
    downgrade(workspace, "0001")
    assert lori_cl("registry", "upgrade", "--no-backup")[1] == f"Upgraded schema 0001 to {SCHEMA}\n"
    assert list(workspace.root.glob("registry-*")) == []


def test_upgrading_a_current_registry_changes_nothing(lori_cl: Call, workspace: Workspace) -> None:
    before = (workspace.root / "registry.db").read_bytes()
    assert lori_cl("registry", "upgrade")[1] == f"The registry is up to date: schema {SCHEMA}\n"
    assert (workspace.root / "registry.db").read_bytes() == before


def test_workflow_over_postgresql_prints_and_stores_no_password(
    lori_cl: Call,
    workspace: Workspace,
    postgres: Postgres,
    write_task: Write,
    write_curriculum: Write,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with postgres.database() as url:
        printed = []
        for command in (
            ["init"],
            ["add-task", write_task("a"), write_task("b")],
            ["run", write_curriculum("a", "b"), "--name", "first"],
            ["runs", "first", "--json"],
            ["capacity", "first"],
            ["report", "first", "-o", workspace.root / "report.html"],
            ["report", "first", "-o", workspace.root / "report.json"],
            ["retire-task", "first", "b"],
            ["registry", "upgrade"],
        ):
            code, out, err = lori_cl("--verbose", "--registry", url, *command)
            assert code == 0, err
            printed += [out, err]
        stored = [str(snapshot(Workspace(workspace.root, url)))]
    stored += [file.read_text(errors="replace") for file in workspace.root.rglob("*") if file.is_file()]
    assert "first" in "".join(stored)
    for text in (*printed, caplog.text, *stored):
        assert PASSWORD not in text
        assert quote(PASSWORD, safe="") not in text
