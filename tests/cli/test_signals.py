"""Ctrl-C and SIGTERM stop a command after the current step."""

import json
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lori_cl.cli.output import bars
from lori_cl.cli.signals import handle_stop_signals
from lori_cl.errors import Interrupted
from lori_cl.evaluation import measure
from lori_cl.registry import Run, Workspace
from lori_cl.training import trainer

Call = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]

TRAIN = ("--set", "train.epochs=3")  # 6 steps


def matrices(lori_cl: Call, run: str) -> object:
    code, out, _ = lori_cl("report", run, "--json")
    assert code == 0
    return [view["matrix"] for view in json.loads(out)["views"].values()]


def signal_in_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send SIGTERM when the first batch of a task is about to be scored."""
    kind_of = measure.kind_of

    def signalled(spec: object) -> object:
        signal.raise_signal(signal.SIGTERM)
        return kind_of(spec)

    monkeypatch.setattr(measure, "kind_of", signalled)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_training_stops_after_the_step_and_prints_the_resume_command(
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    assert lori_cl("add-task", write_task("a"))[0] == 0
    curriculum, step, calls = write_curriculum("a"), trainer.Trainer.training_step, []

    def signal_at_the_second_step(self: object, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(number)
        return step(self, *arguments)

    monkeypatch.setattr(trainer.Trainer, "training_step", signal_at_the_second_step)
    code, _, err = lori_cl("run", curriculum, "--name", "r", *TRAIN)
    assert code == 1
    assert "Stopping after this step. Repeat the signal to stop at once." in err
    message = err.strip().splitlines()[-1]
    assert message.startswith("Interrupted: stopped as requested in 'stage 1/1 a: training' after 2 of 6;")
    assert "Traceback" not in err
    resume_command = shlex.split(message.partition("Resume with: ")[2])
    assert resume_command[3:] == ["run", str(curriculum), "--name", "r", *TRAIN]
    assert lori_cl(*resume_command[3:])[0] == 0
    assert len(calls) == 6
    code, _, err = lori_cl("run", curriculum, "--name", "uninterrupted", *TRAIN, "--measure-all")
    assert code == 0, err
    assert matrices(lori_cl, "r") == matrices(lori_cl, "uninterrupted")


def test_signal_in_scoring_stops_after_the_batch(
    lori_cl: Call, write_task: Write, write_curriculum: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    lori_cl("add-task", write_task("a"))
    signal_in_scoring(monkeypatch)
    code, _, err = lori_cl("run", write_curriculum("a"), "--name", "r")
    assert code == 1
    assert "in 'scoring a, base' after 4 of 8" in err


def test_signal_in_the_last_commit_does_not_interrupt_the_run(
    lori_cl: Call, write_task: Write, write_curriculum: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    lori_cl("add-task", write_task("a"))
    commit = Workspace.commit_stage

    def signalled(*arguments: Any) -> Run:
        run = commit(*arguments)
        signal.raise_signal(signal.SIGTERM)
        return run

    monkeypatch.setattr(Workspace, "commit_stage", signalled)
    code, out, err = lori_cl("run", write_curriculum("a"), "--name", "r")
    assert (code, "Interrupted" in err) == (0, False)
    assert "View current" in out


def test_signal_stops_at_a_completed_inner_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    with bars() as progress, progress.bar("run", 1), progress.bar("training", 2) as advance:
        advance(1)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted, match="in 'training' after 2 of 2"):
            advance(1)


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "without a reader"])
def test_signal_is_handled_if_stderr_is_closed_or_has_no_reader(closed: bool) -> None:
    stderr, (reader, writer) = os.dup(2), os.pipe()
    os.close(reader)
    os.dup2(writer, 2)
    try:
        if closed:
            os.close(2)
        with handle_stop_signals() as stop_requested:
            signal.raise_signal(signal.SIGINT)
            assert stop_requested()
    finally:
        os.dup2(stderr, 2)
        for descriptor in (stderr, writer):
            os.close(descriptor)


def test_signal_writes_nothing_to_descriptor_2_if_stderr_was_closed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.__stderr__", None)
    with handle_stop_signals() as stop_requested:
        signal.raise_signal(signal.SIGINT)
        assert stop_requested()
    assert capfd.readouterr().err == ""


def test_only_rank_0_prints_the_interruption(
    lori_cl: Call, write_task: Write, write_curriculum: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    lori_cl("add-task", write_task("a"))
    signal_in_scoring(monkeypatch)
    monkeypatch.setenv("RANK", "1")
    code, _, err = lori_cl("run", write_curriculum("a"), "--name", "r")
    assert code == 1
    assert "Stopping after" not in err
    assert "Interrupted" not in err


def test_second_signal_stops_immediately() -> None:
    with handle_stop_signals() as stop_requested:
        signal.raise_signal(signal.SIGINT)
        assert stop_requested()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_signal_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with handle_stop_signals() as stop_requested:
        assert not stop_requested()
    assert signal.getsignal(signal.SIGTERM) is before
