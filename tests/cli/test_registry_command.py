"""The registry itself, as a user meets it."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from lori_cl.registry import Workspace
from lori_cl.registry.migrate import MIGRATIONS
from lori_cl.registry.tables import SCHEMA
from tests.postgres import PASSWORD, Postgres
from tests.registry.registry_records import everything

Call = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]


def make_old(workspace: Workspace, revision: str) -> None:
    """Take a registry back to an earlier schema."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(f"sqlite:///{workspace.root / 'registry.db'}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    engine.dispose()


def test_an_old_registry_is_upgraded_by_the_command_that_every_other_one_names(
    lori_cl: Call, workspace: Workspace
) -> None:
    make_old(workspace, "0001")
    for named in (["tasks"], ["init"]):
        code, _, err = lori_cl(*named)
        assert code == 2
        assert err.strip().endswith("bring it up to date: lori-cl registry upgrade")
    code, out, _ = lori_cl("registry", "upgrade")
    first, second = out.splitlines()
    (kept,) = workspace.root.glob("registry-schema-0001-*.db")
    assert code == 0
    assert first == f"Schema 0001 is now {SCHEMA}"
    assert second == f"As it was before: {kept} ({kept.stat().st_size:,} bytes)"
    assert lori_cl("tasks")[0] == 0


def test_an_upgrade_without_a_backup_leaves_none(lori_cl: Call, workspace: Workspace) -> None:
    make_old(workspace, "0001")
    assert lori_cl("registry", "upgrade", "--no-backup")[1] == f"Schema 0001 is now {SCHEMA}\n"
    assert list(workspace.root.glob("registry-*")) == []


def test_a_registry_of_today_is_left_as_it_is(lori_cl: Call, workspace: Workspace) -> None:
    before = (workspace.root / "registry.db").read_bytes()
    assert lori_cl("registry", "upgrade")[1] == f"Up to date already: schema {SCHEMA}\n"
    assert (workspace.root / "registry.db").read_bytes() == before


def test_the_whole_job_over_postgresql_prints_and_keeps_no_password(
    lori_cl: Call,
    workspace: Workspace,
    postgres: Postgres,
    write_task: Write,
    write_curriculum: Write,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with postgres.database() as url:
        said = []
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
            said += [out, err]
        kept = [str(everything(Workspace(workspace.root, url)))]
    kept += [file.read_text(errors="replace") for file in workspace.root.rglob("*") if file.is_file()]
    assert "first" in "".join(kept)
    for text in (*said, caplog.text, *kept):
        assert PASSWORD not in text
        assert quote(PASSWORD, safe="") not in text
