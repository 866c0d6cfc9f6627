"""Tests of the fuzz tests: targets accept valid input, the guard works, a planted fault is found."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.attempts import refusal_of
from tests.fuzz.__main__ import MISSING, QUIET, fuzz, line
from tests.fuzz.guard import listing
from tests.fuzz.mutators import MUTATORS, mutator
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
MUTATIONS = 30
"""Mutations of each known input; libFuzzer makes many more."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("inside", "outside"):
        (tmp_path / part).mkdir()
    return tmp_path


def known(target: str) -> list[Path]:
    return sorted((CORPUS / target).iterdir())


def test_every_target_has_a_mutator_and_known_inputs() -> None:
    assert list(MUTATORS) == list(TARGETS)
    assert sorted(folder.name for folder in CORPUS.iterdir()) == sorted(TARGETS)
    assert all(known(target) for target in TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_known_inputs_and_their_mutations_succeed_or_are_a_one_line_error(target: str, folder: Path) -> None:
    def random_mutation(content: bytes, max_bytes: int) -> bytes:
        at = draw.randrange(len(content) + 1)
        return (content[:at] + draw.randbytes(draw.randrange(4)) + content[at + draw.randrange(4) :])[
            :max_bytes
        ]

    draw = random.Random(target)
    attempt = TARGETS[target](folder / "inside")
    mutate = mutator(target, random_mutation)
    before = listing(folder, folder / "inside")
    for file in known(target):
        content = file.read_bytes()
        refusal_of(partial(attempt, content))
        for seed in range(MUTATIONS):
            content = mutate(content, 4_096, seed)
            refusal_of(partial(attempt, content))
    assert listing(folder, folder / "inside") == before


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_a_valid_known_input(target: str, folder: Path) -> None:
    attempt = TARGETS[target](folder / "inside")
    assert None in {refusal_of(partial(attempt, file.read_bytes())) for file in known(target)}


def test_format_aware_mutations_often_keep_the_format_valid() -> None:
    yaml_files = [file.read_bytes() for file in known("task")]
    mutated = {MUTATORS["task"](content, random.Random(seed)) for content in yaml_files for seed in range(20)}
    assert len(mutated) > 100
    assert sum(content.startswith(b"name: t\n") for content in mutated) > 50


GUARDED = """
import os, pickle, socket, sqlite3, subprocess, sys
from pathlib import Path
from tests.fuzz.guard import Finding, Guard

folder = Path(sys.argv[1])
guard = Guard(folder / "inside", folder / "outside")
inside, beside = folder / "inside", folder / "beside"

def endless():
    while True:
        try:
            sum(range(1000))
        except Exception:
            pass

def by_folder():
    handle = os.open(folder, os.O_RDONLY)
    os.mkdir("beside", dir_fd=handle)

def pickled():
    pickle.loads(b"cos\\ngetcwd\\n.")

attempts = {
    "open": lambda: beside.write_text("x"),
    "append": lambda: open(beside, "ab"),
    "os.open": lambda: os.open(beside, os.O_CREAT | os.O_WRONLY),
    "link": lambda: (inside / "link").symlink_to("../beside") or (inside / "link").write_text("x"),
    "mkdir": beside.mkdir,
    "mkdir at": by_folder,
    "rename": lambda: (inside / "kept").rename(beside),
    "remove": (folder / "outside" / "file").unlink,
    "read": (folder / "outside" / "file").read_text,
    "sqlite": lambda: sqlite3.connect(f"file:{beside}?mode=rwc", uri=True),
    "process": lambda: subprocess.run(["true"]),
    "system": lambda: os.system("true"),
    "connection": lambda: socket.create_connection(("127.0.0.1", 9)),
    "pickle": pickled,
    "endless": endless,
    "allowed": lambda: (inside / "kept").write_text("x") and sqlite3.connect(inside / "a.db").close(),
}
(inside / "kept").write_text("x")
for name, attempt in attempts.items():
    try:
        with guard.watching(0.2):
            attempt()
        print(name, "passed")
    except Finding:
        print(name, "found")
beside.write_text("the guard is disabled now")
"""


def test_guard_detects_forbidden_actions_and_allows_the_rest(folder: Path) -> None:
    (folder / "outside" / "file").write_text("x")
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, str(folder)], capture_output=True, text=True, check=True
    )
    outcomes = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert outcomes.pop("allowed") == "passed"
    assert set(outcomes.values()) == {"found"}
    assert len(outcomes) == 15


def test_listing_shows_changes_outside_the_excluded_folder(folder: Path) -> None:
    before = listing(folder, folder / "inside")
    (folder / "inside" / "file").write_text("x")
    assert listing(folder, folder / "inside") == before
    (folder / "outside" / "file").write_text("x")
    assert listing(folder, folder / "inside") != before


@pytest.fixture
def _atheris() -> None:
    if find_spec("atheris") is None:
        pytest.fail(MISSING) if "LORI_CL_CI" in os.environ else pytest.skip(MISSING)


FAULTY = """
import sys
from tests.fuzz import child, targets

def faulty(folder):
    def attempt(content):
        if content.strip():
            {fault}
    return attempt

targets.TARGETS = {{"eval-set": faulty}}
child.main()
"""


@pytest.mark.usefixtures("_atheris")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise KeyError('planted')", "KeyError: 'planted'"),
        ("open(folder.parent / 'escaped', 'w')", "which is outside"),
        ("import ctypes; ctypes.CDLL(None).mkdir(str(folder.parent / 'escaped').encode(), 0o700)", ""),
    ],
    ids=["traceback", "write", "write without an audit event"],
)
def test_planted_fault_is_found_and_its_input_is_saved(tmp_path: Path, fault: str, message: str) -> None:
    # The known inputs run before the guard is enabled, so only mutated inputs trigger the fault.
    code = FAULTY.format(
        fault=f"if content != {known('eval-set')[0].read_bytes()!r}:\n                {fault}"
    )
    outcome = fuzz("eval-set", 3, 1, tmp_path / "kept", ("-c", code))
    assert outcome.found or outcome.escaped
    assert message in outcome.log
    assert all(file.is_file() and str(file) in line("eval-set", outcome) for file in outcome.found)


@pytest.mark.nightly  # .ci/run calls the command itself
@pytest.mark.usefixtures("_atheris")
def test_fuzz_command_reports_inputs_and_findings(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--seconds",
            "2",
            "--target",
            "eval-set",
            "--found",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, **QUIET},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 findings" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("inputs, 0 of 1 targets with findings")
