"""What the commands do, through the Python API."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import lori_cl as cl
from lori_cl.api.workspace import Workspace
from lori_cl.errors import InputError, SpecError, UnknownRun, VerificationError, WorkspaceUnusable
from lori_cl.registry import Workspace as Storage

Task = Callable[..., cl.Classification]
Plan = Callable[..., cl.Curriculum]


@pytest.fixture
def run(ws: cl.Workspace, task: Task, plan: Plan) -> cl.Run:
    ws.add_task(task("a"), task("b"))
    return ws.run(plan("a", "b"), name="run", progress=False)


def test_a_workspace_over_open_storage_creates_nothing_until_it_is_asked_to(tmp_path: Path) -> None:
    ws = Workspace.of(Storage(tmp_path / "work"))
    assert not ws.root.exists()
    with pytest.raises(WorkspaceUnusable):
        ws.runs()
    assert [ws.create(), ws.create()] == [True, False]
    assert ws.runs().to_records() == []


def test_upgrade_of_a_current_registry_changes_nothing(ws: cl.Workspace) -> None:
    before = (ws.root / "registry.db").read_bytes()
    done = ws.upgrade()
    assert (done.before, done.backup) == (done.now, None)
    assert (ws.root / "registry.db").read_bytes() == before


def test_unused_files_are_listed_then_deleted(ws: cl.Workspace, run: cl.Run) -> None:
    unused = ws.root / "artifacts" / f"{'0' * 64}.jsonl"
    unused.write_text("{}\n")
    assert ws.collect_garbage(delete=True).files == []  # it is too young
    found = ws.collect_garbage(min_age_s=0)
    assert ([file.path for file in found.files], found.undecided, found.deleted) == ([unused], None, False)
    assert unused.exists()
    assert ws.collect_garbage(min_age_s=0, delete=True).deleted
    assert not unused.exists()
    run.verify()


def test_no_file_is_deleted_while_a_run_is_in_progress(ws: cl.Workspace, run: cl.Run) -> None:
    unused = ws.root / "artifacts" / f"{'0' * 64}.jsonl"
    unused.write_text("{}\n")
    with ws.storage.lock("run"):
        found = ws.collect_garbage(min_age_s=0, delete=True)
    assert (found.files, found.deleted) == ([], False)
    assert found.undecided is not None
    assert found.undecided.startswith("run is running")
    assert unused.exists()


def test_a_preview_shows_examples_lengths_and_sites_and_stores_nothing(
    ws: cl.Workspace, write_task: Callable[..., Path], tiny_encoder: Path
) -> None:
    file = write_task("a")
    plain = ws.preview_task(file)
    assert (plain.splits[0].task, plain.splits[0].n, plain.splits[0].lengths) == ("a", 16, None)
    assert plain.sites == []
    measured = ws.preview_task(file, model=str(tiny_encoder), max_length=4)
    assert measured.splits[0].lengths is not None
    assert measured.splits[0].lengths.max_length == 4
    assert measured.sites[0].startswith("adapter: 6 sites (")
    assert ws.tasks() == []


def test_a_curriculum_file_is_checked_against_the_registered_tasks(
    ws: cl.Workspace, task: Task, tmp_path: Path
) -> None:
    ws.add_task(task("a"))
    file = tmp_path / "plan.yaml"
    file.write_text("name: plan\nmodel: {path: m}\ntasks: [a]\n")
    assert ws.read_curriculum(file, ["masks.density=0.2"]).masks.density == 0.2
    with pytest.raises(SpecError, match=r"unknown tasks\[?.*'aa'.*Did you mean 'a'"):
        ws.read_curriculum(file, ["tasks=[aa]"])
    with pytest.raises(SpecError, match=r"unknown method 'lory'.*Did you mean 'lori'"):
        ws.read_curriculum(file, ["method=lory"])


def test_lists_and_records_of_runs_agree(ws: cl.Workspace, run: cl.Run) -> None:
    (summary,) = ws.runs().summaries
    (record,) = ws.runs().to_records()
    full = run.to_record()
    assert (summary.name, summary.stages_done) == ("run", 2)
    assert {key: full[key] for key in record} == record
    assert [stage["task"] for stage in full["stages"]] == ["a", "b"]
    assert full["held_back"] is None
    assert run.held_back is None
    titles = [section.title for section in run.lineage()]
    assert titles == ["Run", "Stage 1 a", "Stage 2 b", "Environment"]


def test_a_held_back_stage_is_seen_and_accepted(ws: cl.Workspace, task: Task, plan: Plan) -> None:
    class Strict(cl.Gate):
        def drops(self, *_: object) -> list[str]:
            return ["'a' fell"]

    ws.add_task(task("a"), task("b"))
    run = ws.run(plan("a"), name="run", progress=False)
    with pytest.raises(cl.LoriError, match="'a' fell"):
        ws.run(plan("a", "b"), name="run", progress=False, gate=Strict(1.0))
    held_back = run.held_back
    assert held_back is not None
    assert held_back.stage.task == "b"
    assert run.to_record()["held_back"]["task"] == "b"
    accepted = ws.run(plan("a", "b"), name="run", progress=False, accept="b")
    assert [stage.task for stage in accepted.stages] == ["a", "b"]
    assert accepted.held_back is None


def test_run_options_reach_the_run(ws: cl.Workspace, task: Task, plan: Plan) -> None:
    ws.add_task(task("a"), task("b"))
    lines: list[str] = []
    run = ws.run(plan("a", "b"), name="run", progress=False, upper_triangle=True, announce=lines.append)
    scores = run.matrix("current").to_pandas()
    assert bool(scores.notna().all(axis=None))  # b is evaluated before it is trained
    assert any("sites" in line for line in lines)


def test_lines_are_answered_like_rows(run: cl.Run) -> None:
    lines = ['{"text": "it is wet", "task": "a"}', "", '{"text": "it is dry", "task": "b"}']
    records = list(run.predict_lines(lines, batch_size=1))
    rows = run.predict([json.loads(line) for line in lines if line])
    assert [(r["task"], r["answer"]) for r in records] == [(p.task, p.answer) for p in rows]
    (plain,) = run.predict_lines(["{it is wet"], task="a", plain=True)
    assert plain["input"] == {"text": "{it is wet"}
    with pytest.raises(InputError, match="not both"):
        next(run.predict_lines(lines, task="a", route=True))


def test_interference_has_every_pair_as_records_and_as_a_table(run: cl.Run) -> None:
    found = run.interference(examples=4)
    assert [(pair.earlier, pair.later) for pair in found] == [("a", "b")]
    assert found.rank_correlation is None  # one pair has no rank correlation
    assert found.to_record() == {"pairs": [found[0].to_record()], "spearman": None}
    assert list(found.to_pandas()["ratio"]) == [found[0].ratio]


def test_runs_are_compared_in_one_report(ws: cl.Workspace, run: cl.Run, plan: Plan, tmp_path: Path) -> None:
    ws.run(plan("a", "b", method=cl.SequentialLoRA(rank=4, alpha=8)), name="other", progress=False)
    both = ws.compare("run", "other", "run")
    assert [report.run.name for report in both] == ["run", "other"]
    assert both.report(tmp_path / "both.json") == (tmp_path / "both.json").read_bytes()
    assert json.loads(both.report(format="json")) == both.to_records()
    assert [report.run.name for report in both[1:]] == ["other"]
    with pytest.raises(UnknownRun, match="Did you mean 'other'"):
        ws.compare("run", "othr")


def test_a_receipt_is_written_and_detects_another_run_of_the_same_name(
    run: cl.Run, task: Task, plan: Plan, tmp_path: Path
) -> None:
    file = tmp_path / "kept.json"
    assert run.receipt(file) == file.read_bytes() == run.receipt()
    assert run.verify(receipt=file)[-1].check == "receipt"
    other = cl.Workspace(tmp_path / "other")
    other.add_task(task("a"), task("b"))
    retrained = other.run(plan("a", "b", seed=1), name="run", progress=False)
    with pytest.raises(VerificationError, match="the run differs from"):
        retrained.verify(receipt=file)
    with pytest.raises(WorkspaceUnusable, match="cannot be written"):
        run.receipt(tmp_path)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH")
def test_a_signed_receipt_verifies_only_with_the_key_that_signed_it(run: cl.Run, tmp_path: Path) -> None:
    for name in ("own", "other"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    file = tmp_path / "kept.json"
    run.receipt(file)
    assert run.sign_receipt(file, tmp_path / "own") == tmp_path / "kept.json.sig"
    assert run.verify(receipt=file, signed_by=tmp_path / "own.pub")[-1].check == "receipt"
    with pytest.raises(VerificationError):
        run.verify(receipt=file, signed_by=tmp_path / "other.pub")


def test_an_argument_that_verify_would_ignore_is_refused(run: cl.Run) -> None:
    with pytest.raises(InputError, match="add remeasure=True"):
        run.verify(tasks=["a"])
    with pytest.raises(InputError, match="add remeasure=True"):
        run.verify(stages=[1])
    with pytest.raises(InputError, match="add receipt=FILE"):
        run.verify(signed_by="key.pub")
    again = run.verify(remeasure=True, tasks=["a"], stages=[1])
    assert {check.check for check in again} >= {"measured again", "remeasure"}


def test_the_demo_writes_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With runs that are there already: training takes minutes, and tests/demo holds it."""
    shutil.copy(Path(__file__).parents[2] / "registry.db", tmp_path)
    ws = cl.Workspace(tmp_path)
    trained = [run.record for run in ws.runs()]
    monkeypatch.setattr("lori_cl.demo.run_demo", lambda *_: trained)
    demo = ws.run_demo(progress=False)
    assert [run.name for run in demo.runs] == [run.name for run in trained]
    assert demo.page == tmp_path / "report.html"
    assert demo.page.read_bytes() == demo.comparison.report(format="html")


def test_a_run_is_planned_then_trained_as_planned(ws: cl.Workspace, task: Task, plan: Plan) -> None:
    ws.add_task(task("a"), task("b"))
    planned = ws.plan_run(plan("a", "b"), name="run")
    assert len(ws.runs()) == 0
    run = ws.run(plan("a", "b"), name="run", progress=False)
    assert [(s.task, s.steps) for s in planned.stages] == [(s.task, s.steps) for s in run.stages]
    extended = ws.plan_run(plan("a", "b"), name="run")
    assert (extended.stages_done, extended.stages, extended.held_back) == (2, [], None)


def test_a_deleted_run_leaves_the_tasks_and_other_runs_intact(
    ws: cl.Workspace, run: cl.Run, plan: Plan
) -> None:
    other = ws.run(plan("a", "b"), name="other", measure_all=True, progress=False)
    assert not ws.delete_run("run", dry_run=True).deleted
    assert ws.delete_run("run").deleted
    with pytest.raises(UnknownRun):
        ws.get_run("run")
    assert ws.collect_garbage(min_age_s=0, delete=True).deleted
    assert [each.name for each in ws.runs()] == ["other"]
    assert other.verify()
    ws.run(plan("a", "b"), name="run", progress=False).verify()


def test_all_tasks_are_exported_and_merged_weights_load_without_peft(run: cl.Run, tmp_path: Path) -> None:
    done = run.export_all(tmp_path / "all", verify=False)
    assert [each.folder.name for each in done.exports] == ["a", "b"]
    merged = run.export(None, tmp_path / "merged", merged=True)
    assert (merged.merged, merged.tasks) == (True, ("a", "b"))
    assert (tmp_path / "merged" / "model.safetensors").exists()
