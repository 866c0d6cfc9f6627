"""The commands `lori-cl receipt` and `lori-cl verify --receipt`."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.registry import Run

Call = Callable[..., tuple[int, str, str]]


def test_run_logs_a_receipt_after_each_stage_and_a_written_receipt_verifies(
    lori_cl: Call, train_run: Callable[..., Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="lori_cl"):
        train_run("a", "b")
    lines = [line for line in caplog.messages if line.startswith("receipt: ")]
    receipts = [re.fullmatch(r"receipt: run run, stage (\d), head (\w{64})", line) for line in lines]
    assert [found and found[1] for found in receipts] == ["1", "2"]
    file = tmp_path / "kept.json"
    code, out, err = lori_cl("receipt", "run", "-o", file)
    assert (code, out, err) == (0, "", f"Wrote {file} ({file.stat().st_size:,} bytes)\n")
    assert receipts[1] is not None
    assert receipts[1][2] in file.read_text()
    code, out, _ = lori_cl("verify", "run", "--receipt", file)
    assert (code, out.splitlines()[-1]) == (0, "receipt: 2 stages and 8 scores match the receipt")
    code, out, _ = lori_cl("verify", "run", "--receipt", receipts[1][2])
    assert out.splitlines()[-1] == "receipt: 2 of 2 stages and their scores have this head"
    code, _, err = lori_cl("verify", "run", "--receipt", "0" * 64)
    assert code == 1
    assert err.startswith("VerificationError: no stage of the run has the head 000")


def test_signing_a_receipt_requires_a_file(lori_cl: Call, train_run: Callable[..., Run]) -> None:
    train_run("a")
    code, _, err = lori_cl("receipt", "run", "--sign", "key")
    assert (code, err) == (2, "UsageError: --sign requires a file: add -o FILE\n")
    code, _, err = lori_cl("receipt", "rum")
    assert (code, err) == (2, "UnknownRun: no run is named 'rum'. Did you mean 'run'? See: lori-cl runs\n")
