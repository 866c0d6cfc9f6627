"""`lori-cl verify` and `lori-cl runs NAME --lineage`, as a user types them."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.registry import Run, Workspace
from lori_cl.serving.checks import CHECKS, Evidence

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(learn: Callable[..., Run]) -> Run:
    return learn("a", "b")


@pytest.fixture
def damaged(run: Run, workspace: Workspace) -> Path:
    """A stage's file with a flipped bit."""
    file = workspace.artifacts.path(run.stages[1].artifact, "safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    return file


def test_a_true_run_gives_one_line_a_check_and_exit_code_0(lori_cl: Call, run: Run) -> None:
    code, out, err = lori_cl("verify", "run")
    assert (code, err) == (0, "")
    assert [line.partition(":")[0] for line in out.splitlines()] == list(CHECKS)


def test_the_first_untruth_ends_it_with_exit_code_1_and_one_line(lori_cl: Call, damaged: Path) -> None:
    code, out, err = lori_cl("verify", "run")
    assert code == 1
    assert [line.partition(":")[0] for line in out.splitlines()] == ["database"]
    assert err.startswith(f"Untruth: stage 2 b: the digest of {damaged} is ")
    assert err.endswith(f", and the registry says {damaged.stem}; restore the file from a backup\n")


def test_as_json_the_untruth_stands_beside_what_was_passed(
    lori_cl: Call, run: Run, workspace: Workspace
) -> None:
    _, out, _ = lori_cl("verify", "run", "--json")
    told = json.loads(out)
    assert [each["check"] for each in told["passed"]] == list(CHECKS)
    assert (told["run"], told["untruth"]) == ("run", None)
    workspace.artifacts.path(run.stages[0].artifact, "safetensors").unlink()
    code, out, _ = lori_cl("verify", "run", "--json")
    assert code == 1
    assert json.loads(out)["untruth"].startswith("stage 1 a: ")


def test_a_signal_ends_it_after_the_check_that_is_under_way(
    lori_cl: Call, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = CHECKS["database"]

    def signalled(evidence: Evidence) -> str:
        signal.raise_signal(signal.SIGTERM)
        return check(evidence)

    monkeypatch.setitem(CHECKS, "database", signalled)
    code, out, err = lori_cl("verify", "run")
    assert code == 1
    assert [line.partition(":")[0] for line in out.splitlines()] == ["database"]
    assert f"in 'verifying run' after 1 of {len(CHECKS)}" in err


def test_scores_are_measured_again_on_request(lori_cl: Call, run: Run) -> None:
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
    ("arguments", "said"),
    [
        (["run", "a"], "UsageError: tasks are named to be scored again: add --remeasure"),
        (["run", "--stages", "0"], "UsageError: --stages says which rows are scored again: add --remeasure"),
        (["run", "--remeasure", "--stages", "a"], "BadParameter: Invalid value for '--stages': 'a': give"),
        (["run", "--remeasure", "--stages", "9"], "InputError: run 'run' has stages 0 to 2, and no stage 9"),
        (["run", "--signed-by", "k.pub"], "UsageError: --signed-by is the signature of a receipt"),
        (["run", "c", "--remeasure"], "UnknownTask: run 'run' has not learned 'c'"),
        (["rum"], "UnknownRun: 'rum'. Did you mean 'run'?"),
    ],
)
def test_what_cannot_be_verified_is_refused_before_a_check(
    lori_cl: Call, run: Run, arguments: list[str], said: str
) -> None:
    code, out, err = lori_cl("verify", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(said)


def test_lineage_is_shown_as_lines_and_as_json(lori_cl: Call, run: Run) -> None:
    code, out, _ = lori_cl("runs", "run", "--lineage")
    assert code == 0
    for digest in (run.base_digest, run.stages[1].artifact, run.tasks[0].eval_set.digest):
        assert digest in out
    _, out, _ = lori_cl("runs", "run", "--lineage", "--json")
    told = json.loads(out)
    assert told["data"][1]["source"]["local"] == "b"
    assert told["environment"]["deterministic"] == "warn"
    code, _, err = lori_cl("runs", "--lineage")
    assert (code, err) == (2, "UsageError: say whose lineage: lori-cl runs NAME --lineage\n")


def test_a_change_of_the_environment_is_allowed_by_an_option(
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
