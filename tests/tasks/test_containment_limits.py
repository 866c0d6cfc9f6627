"""A contained program stays within its resource limits, and no program fails because of machine load."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lori_cl.errors import DataError, SpecError
from lori_cl.spec import load_task, task_from_record
from lori_cl.tasks.containment import Limits, Program, Verdict, judge_program
from lori_cl.tasks.containment.path_broker import PathRules, TooManyFiles
from lori_cl.tasks.containment.supervisor import Clock
from lori_cl.tasks.scorers.pass_at_k import limits, repeatable_parts

from .contained import caught, pass_all, passes
from .task_files import code
from .test_containment import VERSION_OF_LANDLOCK

if sys.platform != "linux" or ctypes.CDLL(None).syscall(*VERSION_OF_LANDLOCK) < 1:
    pytest.skip("programs can only be contained on Linux with Landlock", allow_module_level=True)

TEMPORARY_FILE = "os.close(os.open('a', os.O_CREAT | os.O_RDWR))\n    os.unlink('a')"


@pytest.fixture
def loaded_machine() -> Iterator[None]:
    """Run two busy loops per core."""
    loops = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(4)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.usefixtures("loaded_machine")
def test_program_within_its_time_limit_passes_on_a_loaded_machine() -> None:
    works = "import time\nwhile time.process_time() < 0.4: pass"
    assert pass_all([works] * 4, Limits(seconds=1)) == [True] * 4


@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        ("pass", Verdict.PASSED),
        ("assert False", Verdict.FAILED),
        ("while True: pass", Verdict.TIMED_OUT),
        ("import time; time.sleep(60)", Verdict.TIMED_OUT),
        ("import time\nwhile True: time.sleep(0.001)", Verdict.TIMED_OUT),
        ("import os\nos.fork()", Verdict.FAILED),
        ("x = bytearray(2**34)", Verdict.FAILED),
    ],
)
def test_verdict_says_how_a_program_ended(
    program: str, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Limits, "wall_seconds", property(lambda self: 3 * self.seconds))
    assert judge_program(Program(program), Limits(seconds=0.3)) is verdict


def test_program_over_its_cpu_time_is_killed_before_its_wall_limit() -> None:
    clock = Clock(seconds=1, wall_seconds=100)
    assert not clock.is_over(0.9)
    assert clock.is_over(1.1)


def test_time_while_the_supervisor_was_suspended_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("lori_cl.tasks.containment.supervisor.time.monotonic", lambda: now[0])
    clock = Clock(seconds=1, wall_seconds=2)
    now[0] = 1000.0
    assert not clock.is_over(0.0)
    for _ in range(100):
        now[0] += 0.02
        over = clock.is_over(0.0)
    assert over


def test_deleted_files_count_towards_the_limit() -> None:
    program = f"import os\nfor _ in range({{}}):\n    {TEMPORARY_FILE}"
    five = Limits(created_files=5)
    assert passes(program.format(5), five)
    assert judge_program(Program(program.format(6)), five) is Verdict.FAILED


def test_creating_and_deleting_files_endlessly_fails_even_if_errors_are_caught() -> None:
    program = (
        "import ctypes, os\nlibc = ctypes.CDLL(None)\nlibc.mmap.restype = ctypes.c_void_p\n"
        "while True:\n    try:\n        f = os.open('a', os.O_CREAT | os.O_RDWR)\n"
        "        os.ftruncate(f, 2**20)\n"
        "        p = libc.mmap(None, ctypes.c_size_t(2**20), 3, 1, f, ctypes.c_size_t(0))\n"
        "        if p != 2**64 - 1: ctypes.memset(p, 1, 2**20)\n        os.close(f)\n        os.unlink('a')\n"
        "    except BaseException: pass\n"
    )
    assert judge_program(Program(program)) is Verdict.FAILED


def test_opening_an_existing_file_does_not_count_as_creation() -> None:
    writes = (
        "for i in range(100):\n    with open('a', 'w') as f: f.write(str(i))\nassert open('a').read() == '99'"
    )
    assert passes(writes, Limits(created_files=1))


def test_files_are_counted_as_they_are_created(tmp_path: Path) -> None:
    rules = PathRules([], str(tmp_path), files=2, created_files=3)
    for name in "abc":
        rules.count_creation(f"{tmp_path}/{name}")
    with pytest.raises(TooManyFiles):
        rules.count_creation(f"{tmp_path}/d")


def test_files_in_the_working_directory_are_counted(tmp_path: Path) -> None:
    rules = PathRules([], str(tmp_path), files=1, created_files=9)
    rules.count_creation(f"{tmp_path}/a")
    (tmp_path / "a").touch()
    rules.count_creation(f"{tmp_path}/a")
    with pytest.raises(TooManyFiles):
        rules.count_creation(f"{tmp_path}/b")


def test_symbolic_links_are_resolved_before_a_path_is_checked(tmp_path: Path) -> None:
    library, here = tmp_path / "library", tmp_path / "here"
    library.mkdir()
    here.mkdir()
    (library / "inside").symlink_to(library)
    (library / "outside").symlink_to(tmp_path)
    (tmp_path / "alias").symlink_to(library)
    rules = PathRules([str(tmp_path / "alias")], str(here), 1, 1)
    allowed = [library, library / "a", library / "inside" / "b", tmp_path / "alias" / "a", here / "a", here]
    refused = [
        tmp_path,
        library / "outside",
        library / "outside" / "x",
        here / ".." / "x",
        Path("/"),
        Path("/etc"),
    ]
    assert [str(path) for path in allowed if not rules.allow(str(path))] == []
    assert [str(path) for path in refused if rules.allow(str(path))] == []
    assert not rules.allow(f"{here}-beside")


def test_shared_memory_cannot_be_allocated() -> None:
    assert passes("import mmap, os\n" + caught("mmap.mmap(-1, 2**30)") + caught("os.memfd_create('a')"))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("timeout_s", 301, "timeout_s is 301; the maximum is 300; lower it"),
        ("timeout_s", 1e9, "timeout_s is 1e.09; the maximum is 300"),
        ("memory_mb", 4097, "memory_mb is 4097; the maximum is 4,096; lower it"),
    ],
)
def test_task_limits_above_the_maximum_are_refused(
    field: str, value: float, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "task.yaml"
    declared = code().to_record()
    del declared["skipped"]  # only registered tasks have this field
    path.write_text(json.dumps({**declared, field: value}))
    with pytest.raises(SpecError, match=words):
        load_task(path)


def test_older_task_above_the_maximum_can_be_read_but_not_run() -> None:
    task = task_from_record({**code().to_record(), "timeout_s": 3600, "memory_mb": 100_000})
    with pytest.raises(DataError, match="task 'snippets': timeout_s is 3600; the maximum is 300"):
        limits(task)


def test_machine_dependent_score_parts_are_not_compared() -> None:
    parts = {"pass@1": 0.5, "timed_out": 0.25, "tests_not_isolated": 1.0}
    assert repeatable_parts(parts) == {"pass@1": 0.5}
