"""The commands `lori-cl verify` and `lori-cl runs NAME --lineage`."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.registry import Run, Workspace
from lori_cl.serving.checks import RECORDS, Evidence
from tests.verify_checks import ALL_CHECKS

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    train_run: Callable[..., Run],
    workspace: Workspace,
    train_once: Callable[[Callable[[], object]], None],
) -> Run:
    train_once(lambda: train_run("a", "b"))
    with workspace.read() as registry:
        return registry.run("run")


@pytest.fixture
def damaged(run: Run, workspace: Workspace) -> Path:
    """Flip a bit in a stage's file; return the path of the file."""
    file = workspace.artifacts.path(run.stages[1].artifact, "safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    return file


def test_valid_run_prints_one_line_per_check_and_exits_with_0(lori_cl: Call, run: Run) -> None:
    code, out, err = lori_cl("verify", "run")
    assert (code, err) == (0, "")
    assert [line.partition(":")[0] for line in out.splitlines()] == ALL_CHECKS


def test_verify_stops_at_the_first_failed_check_with_exit_code_1(lori_cl: Call, damaged: Path) -> None:
    code, out, err = lori_cl("verify", "run")
    assert code == 1
    assert [line.partition(":")[0] for line in out.splitlines()] == ["database"]
    assert err.startswith(f"VerificationError: stage 2 b: the digest of {damaged} is ")
    assert err.endswith(f", and the registry says {damaged.stem}; restore the file from a backup\n")


def test_json_output_contains_the_passed_checks_and_the_failure(
    lori_cl: Call, run: Run, workspace: Workspace
) -> None:
    _, out, _ = lori_cl("verify", "run", "--json")
    record = json.loads(out)
    assert [each["check"] for each in record["passed"]] == ALL_CHECKS
    assert (record["run"], record["error"]) == ("run", None)
    workspace.artifacts.path(run.stages[0].artifact, "safetensors").unlink()
    code, out, _ = lori_cl("verify", "run", "--json")
    assert code == 1
    assert json.loads(out)["error"].startswith("stage 1 a: ")


def test_signal_stops_verify_after_the_current_check(
    lori_cl: Call, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = RECORDS["database"]

    def signalled(evidence: Evidence) -> str:
        signal.raise_signal(signal.SIGTERM)
        return check(evidence)

    monkeypatch.setitem(RECORDS, "database", signalled)
    code, out, err = lori_cl("verify", "run")
    assert code == 1
    assert [line.partition(":")[0] for line in out.splitlines()] == ["database"]
    assert f"in 'verifying run' after 1 of {len(ALL_CHECKS)}" in err


def test_remeasure_option_measures_scores_again(lori_cl: Call, run: Run) -> None:
    code, out, _ = lori_cl("verify", "run", "b", "--remeasure")
    assert code == 0
    assert out.splitlines()[-4:] == [
        "measured again: stage 0, the base model, b under base: all 8 outcomes are equal",
        "measured again: stage 2 b, b under as_trained: all 8 outcomes are equal",
        "measured again: stage 2 b, b under current: all 8 outcomes are equal",
        "remeasure: 3 scores are as recorded, of 2 different inputs; none was left out",
    ]
    _, out, _ = lori_cl("verify", "run", "--remeasure", "--stages", "0,2-2")
    assert "not measured again: stage 1 a, a under current: --stages names 0, 2" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "a"], "UsageError: TASK requires --remeasure: add --remeasure"),
        (["run", "--stages", "0"], "UsageError: --stages requires --remeasure: add --remeasure"),
        (
            ["run", "--remeasure", "--stages", "a"],
            "BadParameter: Invalid value for '--stages': 'a' is not a list of stages",
        ),
        (["run", "--remeasure", "--stages", "9"], "InputError: run 'run' has stages 0 to 2, and no stage 9"),
        (["run", "--signed-by", "k.pub"], "UsageError: --signed-by requires a receipt"),
        (["run", "c", "--remeasure"], "UnknownTask: run 'run' has not trained task 'c'"),
        (["rum"], "UnknownRun: no run is named 'rum'. Did you mean 'run'?"),
    ],
)
def test_invalid_arguments_of_verify_are_refused_before_any_check(
    lori_cl: Call, run: Run, arguments: list[str], message: str
) -> None:
    code, out, err = lori_cl("verify", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)


def test_lineage_is_printed_as_lines_or_json(lori_cl: Call, run: Run) -> None:
    code, out, _ = lori_cl("runs", "run", "--lineage")
    assert code == 0
    for digest in (run.base_digest, run.stages[1].artifact, run.tasks[0].eval_set.digest):
        assert digest in out
    _, out, _ = lori_cl("runs", "run", "--lineage", "--json")
    record = json.loads(out)
    assert record["data"][1]["source"]["local"] == "b"
    assert record["environment"]["deterministic"] == "warn"
    code, _, err = lori_cl("runs", "--lineage")
    assert (code, err) == (2, "UsageError: --lineage requires a run: lori-cl runs NAME --lineage\n")


def test_environment_change_requires_an_option(
    lori_cl: Call, run: Run, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> None:
    import torch

    lori_cl("add-task", write_task("c"))
    curriculum = write_curriculum("a", "b", "c")
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        code, _, err = lori_cl("run", curriculum, "--name", "run")
        assert code == 2
        assert f"set OMP_NUM_THREADS={threads}" in err
        code, _, _ = lori_cl("run", curriculum, "--name", "run", "--allow-environment-change")
        assert code == 0
    finally:
        torch.set_num_threads(threads)
