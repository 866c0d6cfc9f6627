"""A receipt stored outside the workspace detects later changes by the workspace's owner."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.errors import InputError, VerificationError, WorkspaceUnusable
from lori_cl.registry import Run, Workspace
from lori_cl.registry.receipt import Receipt
from lori_cl.registry.ssh_signature import sign
from lori_cl.runtime import SilentProgress
from lori_cl.serving.receipts import check_receipt
from lori_cl.serving.retire import retire_task
from lori_cl.serving.route import RouteOptions, route_run
from lori_cl.training import RunOptions

from .forging import (
    downgrade,
    execute_sql,
    findings,
    forge_score,
    rebuild_stage_records,
    remove_stage_records,
)

TrainRun = Callable[..., Run]
REMOVE_NEWEST_STAGE = (
    *("DELETE FROM evaluations WHERE stage = 2", "DELETE FROM masks WHERE stage_id = 2"),
    "DELETE FROM task_statistics WHERE task_id = 2",
    "DELETE FROM stages WHERE position = 2",
)
"""SQL statements that remove the newer of two stages from a registry."""


def receipt(workspace: Workspace) -> Receipt:
    with workspace.read() as registry:
        return Receipt.of(registry.run("run"), registry.score_log("run"))


def write_receipt(workspace: Workspace, folder: Path) -> Path:
    """Write the receipt to a file outside the workspace; return its path."""
    file = folder / "kept.json"
    file.write_bytes(receipt(workspace).to_bytes())
    return file


def check(workspace: Workspace, file: object, signed_by: Path | None = None, name: str = "run") -> str:
    with workspace.read() as registry:
        return check_receipt(registry, name, str(file), signed_by).found


def test_forged_score_is_detected_without_a_receipt(
    trained: Workspace,
) -> None:
    forge_score(trained, 2, "a", "current")
    with pytest.raises(
        VerificationError, match=r"^stage 2 b, a under current: score in .*, and the registry says"
    ):
        findings(trained)


def test_stage_record_names_the_previous_record_and_the_stage_file(trained: Workspace) -> None:
    heads = [stage.head for stage in receipt(trained).stages]
    lines = trained.artifacts.get(heads[1], "jsonl").splitlines()
    header = json.loads(lines[0])
    assert (header["previous"], header["artifact"]) == (heads[0], receipt(trained).stages[1].artifact)
    assert len(lines) == 1 + 6, "two tasks under three views"


@pytest.mark.parametrize(("stage", "view"), [(0, "base"), (1, "current"), (2, "routed")])
def test_receipt_detects_a_score_forged_together_with_every_digest(
    trained: Workspace, tmp_path: Path, stage: int, view: str
) -> None:
    file = write_receipt(trained, tmp_path)
    assert check(trained, file) == "2 stages and 11 scores match the receipt"
    forge_score(trained, stage, "a", view)
    rebuild_stage_records(trained)
    assert "score chain" in findings(trained), "it is not detected without a receipt"
    with pytest.raises(
        VerificationError, match=rf"stage {stage}, a under {view}: the score is [01]\.0, but the "
    ):
        check(trained, file)
    with pytest.raises(VerificationError, match="no stage of the run has the head"):
        check(trained, Receipt.read(file).head)


def test_only_a_receipt_detects_that_the_newest_stage_was_removed(trained: Workspace, tmp_path: Path) -> None:
    file = write_receipt(trained, tmp_path)
    for statement in REMOVE_NEWEST_STAGE:
        execute_sql(trained, statement)
    findings(trained)
    with pytest.raises(
        VerificationError, match="the run has 1 stages and the receipt lists 2: stage 2 b is missing; "
    ):
        check(trained, file)


def test_receipt_names_each_of_two_swapped_scores(trained: Workspace, tmp_path: Path) -> None:
    file = write_receipt(trained, tmp_path)
    execute_sql(trained, "UPDATE evaluations SET view = 'x' WHERE stage = 2 AND view = 'current'")
    execute_sql(trained, "UPDATE evaluations SET view = 'current' WHERE stage = 2 AND view = 'as_trained'")
    execute_sql(trained, "UPDATE evaluations SET view = 'as_trained' WHERE stage = 2 AND view = 'x'")
    with pytest.raises(VerificationError, match="stage 2, a under as_trained: the score is ") as found:
        check(trained, file)
    assert "stage 2, a under current: the score is " in str(found.value)


def test_receipt_detects_a_replaced_stage_file(trained: Workspace, tmp_path: Path) -> None:
    file = write_receipt(trained, tmp_path)
    execute_sql(trained, "UPDATE stages SET artifact = (SELECT artifact FROM stages WHERE position = 1)")
    with pytest.raises(
        VerificationError, match=r"stage 2 b: the file is \w{64}, but the receipt lists \w{64}"
    ):
        check(trained, file)


def test_receipt_detects_changed_inputs_of_an_equal_score(trained: Workspace, tmp_path: Path) -> None:
    file = write_receipt(trained, tmp_path)
    execute_sql(trained, "UPDATE evaluations SET input_digest = 'f' WHERE stage = 0 AND task_id = 1")
    with pytest.raises(VerificationError, match="stage 0, a under base: the score is equal, but its "):
        check(trained, file)


def test_receipt_stays_valid_after_resume_routing_and_retirement(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path
) -> None:
    train_run("a")
    file, first = write_receipt(workspace, tmp_path), receipt(workspace).head
    train_run("a", "b", options=RunOptions(upper_triangle=True))
    route_run(workspace, "run", RouteOptions(), SilentProgress())
    after_two = receipt(workspace)
    retire_task(workspace, "run", "b")
    train_run("a", "b", "c", options=RunOptions(upper_triangle=True))
    assert "2 stages and" in check(workspace, file)
    assert check(workspace, first) == "1 of 3 stages and their scores have this head"
    assert list(after_two.changes(receipt(workspace))) == []
    findings(workspace)


def test_receipt_can_be_made_for_a_run_of_an_earlier_version(trained: Workspace, tmp_path: Path) -> None:
    file = write_receipt(trained, tmp_path)
    remove_stage_records(trained)
    assert findings(trained)["score chain"].startswith("0 of 2 stages")
    assert check(trained, file).startswith("2 stages")


def test_run_and_receipt_of_an_earlier_schema_pass_after_the_upgrade(
    trained: Workspace, tmp_path: Path
) -> None:
    file = write_receipt(trained, tmp_path)
    downgrade(trained, "0005")
    with pytest.raises(WorkspaceUnusable, match="has schema 0005"):
        findings(trained)
    trained.upgrade(backup=False)
    assert findings(trained)["score chain"].startswith("2 of 2 stages, head ")
    assert check(trained, file) == "2 stages and 11 scores match the receipt"


def test_stage_record_that_differs_in_the_source_of_a_score_is_described_in_current_words(
    trained: Workspace,
) -> None:
    execute_sql(trained, "UPDATE evaluations SET source = 'measured' WHERE stage = 2")
    with pytest.raises(VerificationError, match=r"source in .* is cached, and the registry says measured"):
        findings(trained)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": "lori_cl receipt 1"}', "\x00", '{"format": 1}']
)
def test_invalid_receipt_file_is_refused(trained: Workspace, tmp_path: Path, content: str) -> None:
    file = tmp_path / "kept.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"kept\.json is not a lori-cl receipt: "):
        check(trained, file)
    with pytest.raises(InputError, match="cannot be read"):
        check(trained, tmp_path / "absent.json")


def test_receipt_of_another_run_is_refused(trained: Workspace, tmp_path: Path) -> None:
    file = write_receipt(trained, tmp_path)
    file.write_text(file.read_text().replace('"run": "run"', '"run": "other"'))
    with pytest.raises(InputError, match="is a receipt of run 'other', not of 'run'"):
        check(trained, file)


needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")


def make_key(folder: Path, name: str) -> Path:
    key = folder / name
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "someone", "-f", str(key)]
    subprocess.run(made, check=True)
    return key


@needs_ssh
def test_receipt_is_accepted_only_with_a_signature_of_the_given_key(
    trained: Workspace, tmp_path: Path
) -> None:
    file = write_receipt(trained, tmp_path)
    key, other = make_key(tmp_path, "key"), make_key(tmp_path, "other")
    public = key.with_suffix(".pub")
    with pytest.raises(InputError, match=r"kept\.json\.sig: the signature file does not exist"):
        check(trained, file, public)
    sign(file, key)
    sign(file, key)
    assert f"signed by {public}" in check(trained, file, public)
    with pytest.raises(VerificationError, match=r"kept\.json was not signed by .*other\.pub: "):
        check(trained, file, other.with_suffix(".pub"))
    with pytest.raises(InputError, match="is not a public SSH key"):
        check(trained, file, key)
    forge_score(trained, 2, "a", "current")
    file.write_bytes(receipt(trained).to_bytes())
    with pytest.raises(VerificationError, match=r"kept\.json was not signed by .*key\.pub: "):
        check(trained, file, public)


@needs_ssh
def test_key_that_cannot_sign_is_refused_with_the_message_of_ssh_keygen(
    trained: Workspace, tmp_path: Path
) -> None:
    file, key = write_receipt(trained, tmp_path), tmp_path / "key"
    with pytest.raises(InputError, match="the key file does not exist"):
        sign(file, key)
    key.write_text("no key")
    key.chmod(0o600)
    with pytest.raises(InputError, match=r"kept\.json could not be signed with .*key: "):
        sign(file, key)
