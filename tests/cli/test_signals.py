"""Ctrl-C and SIGTERM end a command after the step that is under way."""

import json
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lori_cl.cli.output import bars
from lori_cl.cli.signals import asked_to_end
from lori_cl.errors import Interrupted
from lori_cl.training import evaluate, sequence, stage

Call = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]

TRAIN = ("--set", "train.epochs=3")  # 6 steps


def matrices(lori_cl: Call, run: str) -> object:
    code, out, _ = lori_cl("report", run, "--json")
    assert code == 0
    return [view["matrix"] for view in json.loads(out)["views"].values()]


def signal_in_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send SIGTERM when the first batch of a task is about to be scored."""
    kind_of = evaluate.kind_of

    def signalled(spec: object) -> object:
        signal.raise_signal(signal.SIGTERM)
        return kind_of(spec)

    monkeypatch.setattr(evaluate, "kind_of", signalled)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_training_ends_after_the_step_with_the_command_that_goes_on(
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    assert lori_cl("add-task", write_task("a"))[0] == 0
    curriculum, step, calls = write_curriculum("a"), stage.Trainer.training_step, []

    def signalled_at_the_second(self: object, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(number)
        return step(self, *arguments)

    monkeypatch.setattr(stage.Trainer, "training_step", signalled_at_the_second)
    code, _, err = lori_cl("run", curriculum, "--name", "r", *TRAIN)
    assert code == 1
    assert "Ending after this step. Once more ends at once." in err
    message = err.strip().splitlines()[-1]
    assert message.startswith("Interrupted: ended as asked, in 'stage 1/1 a: training' after 2 of 6;")
    assert "Traceback" not in err
    goes_on = shlex.split(message.partition("Go on with: ")[2])
    assert goes_on[3:] == ["run", str(curriculum), "--name", "r", *TRAIN]
    assert lori_cl(*goes_on[3:])[0] == 0
    assert len(calls) == 6
    code, _, err = lori_cl("run", curriculum, "--name", "whole", *TRAIN, "--measure-all")
    assert code == 0, err
    assert matrices(lori_cl, "r") == matrices(lori_cl, "whole")


def test_a_signal_in_scoring_ends_after_the_batch(
    lori_cl: Call, write_task: Write, write_curriculum: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    lori_cl("add-task", write_task("a"))
    signal_in_scoring(monkeypatch)
    code, _, err = lori_cl("run", write_curriculum("a"), "--name", "r")
    assert code == 1
    assert "in 'scoring a, base' after 4 of 8" in err


def test_a_signal_in_the_last_commit_finds_nothing_left_to_interrupt(
    lori_cl: Call, write_task: Write, write_curriculum: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    lori_cl("add-task", write_task("a"))
    commit = sequence.commit

    def signalled(*arguments: Any) -> None:
        commit(*arguments)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(sequence, "commit", signalled)
    code, out, err = lori_cl("run", write_curriculum("a"), "--name", "r")
    assert (code, "Interrupted" in err) == (0, False)
    assert "View current" in out


def test_an_inner_bar_that_is_full_ends_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with bars() as observer, observer.bar("run", 1), observer.bar("training", 2) as advance:
        advance(1)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted, match="in 'training' after 2 of 2"):
            advance(1)


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "without a reader"])
def test_a_signal_is_noted_where_nobody_reads_stderr_any_more(closed: bool) -> None:
    stderr, (reader, writer) = os.dup(2), os.pipe()
    os.close(reader)
    os.dup2(writer, 2)
    try:
        if closed:
            os.close(2)
        with asked_to_end() as ends:
            signal.raise_signal(signal.SIGINT)
            assert ends()
    finally:
        os.dup2(stderr, 2)
        for descriptor in (stderr, writer):
            os.close(descriptor)


def test_a_file_that_was_opened_in_the_place_of_a_closed_stderr_is_not_written(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.__stderr__", None)
    with asked_to_end() as ends:
        signal.raise_signal(signal.SIGINT)
        assert ends()
    assert capfd.readouterr().err == ""


def test_of_the_processes_of_a_launcher_the_first_one_speaks(
    lori_cl: Call, write_task: Write, write_curriculum: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    lori_cl("add-task", write_task("a"))
    signal_in_scoring(monkeypatch)
    monkeypatch.setenv("RANK", "1")
    code, _, err = lori_cl("run", write_curriculum("a"), "--name", "r")
    assert code == 1
    assert "Ending after" not in err
    assert "Interrupted" not in err


def test_the_second_signal_ends_at_once() -> None:
    with asked_to_end() as ends:
        signal.raise_signal(signal.SIGINT)
        assert ends()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_the_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with asked_to_end() as ends:
        assert not ends()
    assert signal.getsignal(signal.SIGTERM) is before
