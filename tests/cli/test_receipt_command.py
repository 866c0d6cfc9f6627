"""`lori-cl receipt` and `lori-cl verify --receipt`, as a user types them."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.registry import Run

Call = Callable[..., tuple[int, str, str]]


def test_a_run_logs_a_receipt_after_each_stage_and_the_export_is_verified(
    lori_cl: Call, learn: Callable[..., Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="lori_cl"):
        learn("a", "b")
    lines = [line for line in caplog.messages if line.startswith("receipt: ")]
    printed = [re.fullmatch(r"receipt: run run, stage (\d), head (\w{64})", line) for line in lines]
    assert [found and found[1] for found in printed] == ["1", "2"]
    file = tmp_path / "kept.json"
    code, out, err = lori_cl("receipt", "run", "-o", file)
    assert (code, out, err) == (0, "", f"Wrote {file} ({file.stat().st_size:,} bytes)\n")
    assert printed[1] is not None
    assert printed[1][2] in file.read_text()
    code, out, _ = lori_cl("verify", "run", "--receipt", file)
    assert (code, out.splitlines()[-1]) == (0, "receipt: 2 stages and 8 scores are as the receipt says")
    code, out, _ = lori_cl("verify", "run", "--receipt", printed[1][2])
    assert out.splitlines()[-1] == "receipt: 2 of 2 stages and their scores have this head"
    code, _, err = lori_cl("verify", "run", "--receipt", "0" * 64)
    assert code == 1
    assert err.startswith("Untruth: no stage of the run has the head 000")


def test_a_receipt_that_is_not_written_to_a_file_cannot_be_signed(
    lori_cl: Call, learn: Callable[..., Run]
) -> None:
    learn("a")
    code, _, err = lori_cl("receipt", "run", "--sign", "key")
    assert (code, err) == (2, "UsageError: --sign signs a file: add -o FILE\n")
    code, _, err = lori_cl("receipt", "rum")
    assert (code, err) == (2, "UnknownRun: 'rum'. Did you mean 'run'? See: lori-cl runs\n")
