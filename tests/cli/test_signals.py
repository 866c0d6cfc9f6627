"""Ctrl-C and SIGTERM end a command after the step that is under way."""

import json
import shlex
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.cli.signals import asked_to_end
from lori_cl.training import evaluate, stage

Call = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]

TRAIN = ("--set", "train.epochs=3")  # 6 steps


def matrices(lori_cl: Call, run: str) -> object:
    code, out, _ = lori_cl("report", run, "--json")
    assert code == 0
    return [view["matrix"] for view in json.loads(out)["views"].values()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_training_ends_after_the_step_with_the_command_that_goes_on(
    lori_cl: Call,
    write_task: Write,
    write_curriculum: Write,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    lori_cl("add-task", write_task("a"))
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
    kind_of = evaluate.kind_of

    def signalled(spec: object) -> object:
        signal.raise_signal(signal.SIGTERM)
        return kind_of(spec)

    monkeypatch.setattr(evaluate, "kind_of", signalled)
    code, _, err = lori_cl("run", write_curriculum("a"), "--name", "r")
    assert code == 1
    assert "in 'scoring a, base' after 4 of 8" in err


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
