"""A receipt that is kept outside the workspace shows what its owners changed since."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.errors import InputError, Untruth
from lori_cl.registry import Run, Workspace
from lori_cl.registry.receipt import Receipt
from lori_cl.registry.ssh_signature import sign
from lori_cl.serving.receipts import check_receipt
from lori_cl.serving.retire import retire_task
from lori_cl.serving.route import RouteOptions, route_run
from lori_cl.training import RunOptions, SilentObserver

from .forging import forge_score, forget_records, lie, rewrite_records, told

Learn = Callable[..., Run]
CUT = (
    *("DELETE FROM evaluations WHERE stage = 2", "DELETE FROM masks WHERE stage_id = 2"),
    "DELETE FROM task_statistics WHERE task_id = 2",
    "DELETE FROM stages WHERE position = 2",
)
"""What removes the newest of two stages from a registry."""


def receipt(workspace: Workspace) -> Receipt:
    with workspace.read() as registry:
        return Receipt.of(registry.run("run"), registry.score_log("run"))


def keep(workspace: Workspace, folder: Path) -> Path:
    """The receipt's file, outside the workspace."""
    file = folder / "kept.json"
    file.write_bytes(receipt(workspace).to_bytes())
    return file


def compare(workspace: Workspace, file: object, signed_by: Path | None = None, name: str = "run") -> str:
    with workspace.read() as registry:
        return check_receipt(registry, name, str(file), signed_by).found


def test_a_forged_score_of_an_earlier_stage_or_the_newest_is_found_without_a_receipt(
    learned: Workspace,
) -> None:
    forge_score(learned, 2, "a", "current")
    with pytest.raises(Untruth, match=r"^stage 2 b, a under current: score in .*, and the registry says"):
        told(learned)


def test_the_record_of_a_stage_names_the_one_before_and_the_stages_file(learned: Workspace) -> None:
    heads = [stage.head for stage in receipt(learned).stages]
    lines = learned.artifacts.get(heads[1], "jsonl").splitlines()
    about = json.loads(lines[0])
    assert (about["previous"], about["artifact"]) == (heads[0], receipt(learned).stages[1].artifact)
    assert len(lines) == 1 + 6, "two tasks under three views"


@pytest.mark.parametrize(("stage", "view"), [(0, "base"), (1, "current"), (2, "routed")])
def test_a_score_that_was_forged_with_every_digest_is_named_by_a_receipt(
    learned: Workspace, tmp_path: Path, stage: int, view: str
) -> None:
    file = keep(learned, tmp_path)
    assert compare(learned, file) == "2 stages and 11 scores are as the receipt says"
    forge_score(learned, stage, "a", view)
    rewrite_records(learned)
    assert "score chain" in told(learned), "without a receipt it cannot be found"
    with pytest.raises(Untruth, match=rf"stage {stage}, a under {view}: the score is [01]\.0 and the "):
        compare(learned, file)
    with pytest.raises(Untruth, match="no stage of the run has the head"):
        compare(learned, Receipt.read(file).head)


def test_a_chain_whose_newest_stage_was_cut_off_is_found_by_a_receipt_alone(
    learned: Workspace, tmp_path: Path
) -> None:
    file = keep(learned, tmp_path)
    for statement in CUT:
        lie(learned, statement)
    told(learned)
    with pytest.raises(Untruth, match="the run has 1 stages and the receipt 2: stage 2 b is not there; "):
        compare(learned, file)


def test_scores_exchanged_between_two_tasks_are_named_one_by_one(learned: Workspace, tmp_path: Path) -> None:
    file = keep(learned, tmp_path)
    lie(learned, "UPDATE evaluations SET view = 'x' WHERE stage = 2 AND view = 'current'")
    lie(learned, "UPDATE evaluations SET view = 'current' WHERE stage = 2 AND view = 'as_trained'")
    lie(learned, "UPDATE evaluations SET view = 'as_trained' WHERE stage = 2 AND view = 'x'")
    with pytest.raises(Untruth, match="stage 2, a under as_trained: the score is ") as found:
        compare(learned, file)
    assert "stage 2, a under current: the score is " in str(found.value)


def test_another_file_of_a_stage_is_named(learned: Workspace, tmp_path: Path) -> None:
    file = keep(learned, tmp_path)
    lie(learned, "UPDATE stages SET artifact = (SELECT artifact FROM stages WHERE position = 1)")
    with pytest.raises(Untruth, match=r"stage 2 b: its file is \w{64} and the receipt says \w{64}"):
        compare(learned, file)


def test_a_score_that_has_other_answers_and_the_same_value_is_named(
    learned: Workspace, tmp_path: Path
) -> None:
    file = keep(learned, tmp_path)
    lie(learned, "UPDATE evaluations SET input_digest = 'f' WHERE stage = 0 AND task_id = 1")
    with pytest.raises(Untruth, match="stage 0, a under base: the score is the same, and its "):
        compare(learned, file)


def test_a_receipt_holds_while_the_run_goes_on_is_routed_and_retires_a_task(
    learn: Learn, workspace: Workspace, tmp_path: Path
) -> None:
    learn("a")
    file, first = keep(workspace, tmp_path), receipt(workspace).head
    learn("a", "b", options=RunOptions(upper_triangle=True))
    route_run(workspace, "run", RouteOptions(), SilentObserver())
    after_two = receipt(workspace)
    retire_task(workspace, "run", "b")
    learn("a", "b", "c", options=RunOptions(upper_triangle=True))
    assert "2 stages and" in compare(workspace, file)
    assert compare(workspace, first) == "1 of 3 stages and their scores have this head"
    assert list(after_two.changes(receipt(workspace))) == []
    told(workspace)


def test_a_receipt_can_be_made_of_a_run_that_an_earlier_version_recorded(
    learned: Workspace, tmp_path: Path
) -> None:
    file = keep(learned, tmp_path)
    forget_records(learned)
    assert told(learned)["score chain"].startswith("0 of 2 stages")
    assert compare(learned, file).startswith("2 stages")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": "lori_cl receipt 1"}', "\x00", '{"format": 1}']
)
def test_what_is_no_receipt_is_refused(learned: Workspace, tmp_path: Path, content: str) -> None:
    file = tmp_path / "kept.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"kept\.json is no receipt of lori-cl: "):
        compare(learned, file)
    with pytest.raises(InputError, match="cannot be read"):
        compare(learned, tmp_path / "absent.json")


def test_a_receipt_of_another_run_is_refused(learned: Workspace, tmp_path: Path) -> None:
    file = keep(learned, tmp_path)
    file.write_text(file.read_text().replace('"run": "run"', '"run": "other"'))
    with pytest.raises(InputError, match="is a receipt of run 'other', not of 'run'"):
        compare(learned, file)


needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")


def make_key(folder: Path, name: str) -> Path:
    key = folder / name
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "someone", "-f", str(key)]
    subprocess.run(made, check=True)
    return key


@needs_ssh
def test_a_receipt_is_accepted_that_the_key_signed_and_no_other(learned: Workspace, tmp_path: Path) -> None:
    file = keep(learned, tmp_path)
    key, other = make_key(tmp_path, "key"), make_key(tmp_path, "other")
    public = key.with_suffix(".pub")
    with pytest.raises(InputError, match=r"kept\.json\.sig: there is no such signature file"):
        compare(learned, file, public)
    sign(file, key)
    sign(file, key)
    assert f"signed by {public}" in compare(learned, file, public)
    with pytest.raises(Untruth, match=r"kept\.json was not signed by .*other\.pub: "):
        compare(learned, file, other.with_suffix(".pub"))
    with pytest.raises(InputError, match="is no public SSH key"):
        compare(learned, file, key)
    forge_score(learned, 2, "a", "current")
    file.write_bytes(receipt(learned).to_bytes())
    with pytest.raises(Untruth, match=r"kept\.json was not signed by .*key\.pub: "):
        compare(learned, file, public)


@needs_ssh
def test_a_key_that_cannot_sign_is_refused_with_the_words_of_ssh_keygen(
    learned: Workspace, tmp_path: Path
) -> None:
    file, key = keep(learned, tmp_path), tmp_path / "key"
    with pytest.raises(InputError, match="there is no such key file"):
        sign(file, key)
    key.write_text("no key")
    key.chmod(0o600)
    with pytest.raises(InputError, match=r"kept\.json could not be signed with .*key: "):
        sign(file, key)
