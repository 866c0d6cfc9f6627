"""Hostile programs are contained and fail; harmless programs pass.

The hostile programs are chosen so that a leak fails its test and does no other harm.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.errors import ContainmentMissing
from lori_cl.tasks.containment import Limits, require_containment, run
from lori_cl.tasks.containment.system_calls import MACHINES, system_call_filter

from .contained import caught, pass_all, passes, refused

VERSION_OF_LANDLOCK = 444, None, 0, 1

if sys.platform != "linux" or ctypes.CDLL(None).syscall(*VERSION_OF_LANDLOCK) < 1:
    pytest.skip("programs can only be contained on Linux with Landlock", allow_module_level=True)

BRIEF = Limits(seconds=0.15)

HUMAN_EVAL = '''
import collections, copy, datetime, functools, hashlib, heapq, itertools, math, random, re, string
from typing import Dict, List, Optional, Tuple


def has_close_elements(numbers: List[float], threshold: float) -> bool:
    """ Check if in given list of numbers, are any two numbers closer to each other than given threshold.
    >>> has_close_elements([1.0, 2.0, 3.0], 0.5)
    False
    """
    return any(abs(a - b) < threshold for a, b in itertools.combinations(numbers, 2))


def check(candidate):
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3) == True
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.05) == False
    assert hashlib.md5(b"x").hexdigest() == "9dd4e461268c8034f5c8564e155c67a6"
    assert math.gcd(12, 18) == 6 and re.fullmatch("a+", "aa") and heapq.nsmallest(1, [2, 1]) == [1]
    assert random.random() < 1 and datetime.date(2024, 2, 29).isoformat() == "2024-02-29"

check(has_close_elements)
'''


def passes_uncontained(program: str) -> bool:
    return subprocess.run([sys.executable, "-S", "-c", program]).returncode == 0


def in_forked_process(act: Callable[[], object]) -> int:
    """Run the action in a fork of this process and return the fork's id."""
    if child := os.fork():
        return child
    try:
        act()
        os._exit(0)
    finally:
        os._exit(1)


def processes_within(folder: Path) -> list[int]:
    """Return the processes whose working directory is in a folder, which may be removed."""

    def works_in_folder(process: Path) -> bool:
        try:
            return (process / "cwd").readlink().is_relative_to(folder)
        except OSError:  # the process has ended or belongs to another user
            return False

    return [int(process.name) for process in Path("/proc").glob("[0-9]*") if works_in_folder(process)]


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


# Programs that pass


def test_humaneval_style_program_passes() -> None:
    assert passes(HUMAN_EVAL)


def test_wrong_completion_fails() -> None:
    assert not passes(HUMAN_EVAL.replace("< threshold", "> threshold"))


@pytest.mark.parametrize(
    "program",
    [
        "",
        "ñ = '日本語🙂'\nassert len(ñ) == 4 and ñ.encode()[0] == 0xE6\nprint(ñ)",
        "# coding: latin-1\nassert 'é' == chr(233)",
        "text = '" + "x" * 5_000_000 + "'\nassert len(text) == 5_000_000",
        "if __name__ != '__main__': raise SystemExit(1)",
        "import dataclasses, pickle\n@dataclasses.dataclass\nclass P:\n    x: int\n"
        "assert pickle.loads(pickle.dumps(P(3))) == P(3)",
        "import os\nos.close(1)\nos.close(2)",
        "import sys\nassert sys.stdin.read() == ''\ntry: input()\nexcept EOFError: pass\nelse: assert False",
        "import threading\nwith threading.Lock(): pass",
        "import decimal, fractions, json, statistics, time, unittest, zlib, zoneinfo\ntime.sleep(0.01)",
        "import tempfile\nwith tempfile.NamedTemporaryFile() as f: assert f.write(b'x') == 1",
    ],
    ids=[
        "empty",
        "unicode",
        "cookie",
        "large",
        "main",
        "pickle",
        "closed",
        "stdin",
        "lock",
        "library",
        "tempfile",
    ],
)
def test_harmless_program_passes(program: str) -> None:
    assert passes(program)


def test_program_gets_an_empty_working_directory_that_is_removed_afterwards(
    temporary: Path,
) -> None:
    assert passes(
        "import os\nassert os.listdir() == []\n"
        "with open('a', 'w') as f: f.write('b')\n"
        "assert open('a').read() == 'b'\nos.remove('a')\nopen('c', 'w').close()"
    )
    assert list(temporary.iterdir()) == []


def test_programs_are_judged_in_order_and_independently() -> None:
    writes = "import os\nassert os.listdir() == []\nopen('a', 'w').close()"
    programs = [writes, "assert False", writes, "while True: pass", "import os; os.fork()", writes, "1 / 0"]
    assert pass_all(programs, Limits(seconds=1)) == [True, False, True, False, False, True, False]


def test_empty_list_of_programs_gives_no_verdicts() -> None:
    assert pass_all([]) == []


def test_string_hashes_are_reproducible() -> None:
    fixed = subprocess.check_output([sys.executable, "-c", "print(hash('a'))"], env={"PYTHONHASHSEED": "0"})
    assert passes(f"assert hash('a') == {int(fixed)}")


# Programs that do not complete


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(0)",
        "raise SystemExit",
        "import sys; sys.exit()",
        "import os; os._exit(0)",
        "import os; os.write(1, bytes(32)); os._exit(0)",
        "exit()",
        "raise KeyboardInterrupt",
        "import os; os.abort()",
        "import os\nos._exit = print\nraise SystemExit(0)",
        "import os\nos.closerange(0, 64)",
        "import ctypes; ctypes.string_at(0)",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        "import sys\nsys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
    ],
)
def test_program_that_exits_early_fails(program: str) -> None:
    assert not passes(program, Limits(memory_bytes=64 * 2**20))


@pytest.mark.parametrize(
    "program",
    ["def f(:", "x = 1\0", "x = '\ud800'", "(" * 100_000, "-" * 1_000_000 + "1", "  x = 1\n y = 2", "\x06"],
    ids=["syntax", "null", "surrogate", "brackets", "signs", "indent", "control"],
)
def test_program_that_does_not_compile_fails(program: str) -> None:
    assert not passes(program)


def test_completion_token_cannot_be_found_by_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("secrets.token_bytes", lambda n: b"TOKEN" + os.urandom(n - 5))
    finds = (
        "import gc, os, sys\n"
        "mark = bytes([84, 79, 75, 69, 78])\n"
        "def look(*found):\n"
        "    for x in found:\n"
        "        if type(x) is bytes and mark in x[:-5]: os.write(1, x[x.index(mark):][:32]), os._exit(0)\n"
        "for container in gc.get_objects(): look(*gc.get_referents(container))\n"
        "frame = sys._getframe()\n"
        "while frame:\n"
        "    for variables in (frame.f_locals, frame.f_globals): look(*variables.values())\n"
        "    for x in [*frame.f_locals.values()]: look(*gc.get_referents(x))\n"
        "    frame = frame.f_back\n"
        "look(*map(os.fsencode, [*sys.argv, *sys.orig_argv, *os.environ.values()]))\n"
        "for fd in range(64):\n"
        "    for act in (lambda: os.lseek(fd, 0, 0), lambda: look(os.read(fd, 10_000))):\n"
        "        try: act()\n"
        "        except OSError: pass\n"
    )
    assert not passes(finds + "os._exit(0)", Limits(seconds=1))
    assert passes(finds)  # the search ran to its end


# Time, memory, output, files


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "import re; re.match('(a+)+$', 'a' * 60 + 'b')",
        "import os; r, w = os.pipe(); os.write(w, bytes(10**7))",
        "import os; r, w = os.pipe(); os.read(r, 1)",
        "import threading; threading.Semaphore(0).acquire()",
        "import signal, time\n"
        "for s in signal.valid_signals() - {9, 19}: signal.signal(s, signal.SIG_IGN)\n"
        "while True:\n    try: time.sleep(60)\n    except BaseException: pass",
        "class Stays:\n    def __del__(self): Stays()\nStays()\nwhile True: pass",
    ],
)
def test_endless_program_is_killed_and_fails(program: str, temporary: Path) -> None:
    assert not passes(program, BRIEF)
    assert processes_within(temporary) == []


def test_time_limit_starts_with_the_program() -> None:
    assert passes("import time; time.sleep(0.1)", Limits(seconds=5))
    assert not passes("import time; time.sleep(0.5)", Limits(seconds=0.1))


@pytest.mark.parametrize(
    "program",
    [
        "x = bytearray(2**30)",
        "x = []\nwhile True: x.append(bytearray(2**20))",
        "x = 'x' * 2**34",
        "import mmap; mmap.mmap(-1, 2**30)",
    ],
)
def test_program_over_its_memory_limit_fails(program: str) -> None:
    assert not passes(program)


def test_memory_limit_is_enforced() -> None:
    holds = "try:\n    x = bytearray({} * 2**20)\nexcept MemoryError:\n    x = None\nassert bool(x) is {}"
    assert passes(holds.format(100, True), Limits(memory_bytes=200 * 2**20))
    assert passes(holds.format(200, False), Limits(memory_bytes=200 * 2**20))


@pytest.mark.parametrize("stream", [1, 2])
def test_program_with_endless_output_is_killed_before_its_time_limit(stream: int) -> None:
    start = time.monotonic()
    assert not passes(f"import os\nwhile True: os.write({stream}, bytes(1000))", Limits(seconds=60))
    assert time.monotonic() - start < 30


def test_output_limit_is_exact() -> None:
    limits = Limits(output_bytes=100_000)
    assert passes("import os; os.write(1, bytes(50_000)); os.write(2, bytes(50_000))", limits)
    assert not passes("import os; os.write(1, bytes(50_000)); os.write(2, bytes(50_001))", limits)


def test_file_size_limit_is_exact() -> None:
    limits = Limits(file_bytes=100_000)
    writes = "with open('a', 'wb') as f: f.write(bytes({}))"
    assert passes(writes.format(100_000), limits)
    assert not passes(writes.format(100_001), limits)
    assert passes(caught(writes.format(10**7)) + "assert len(open('a', 'rb').read()) == 100_000", limits)
    assert not passes("open('a', 'wb').truncate(2**40)", limits)


def test_program_that_makes_many_files_fails_and_leaves_none(temporary: Path) -> None:
    makes = "import time\nfor i in range({}): open(str(i), 'w').close()\ntime.sleep(0.3)"
    assert passes(makes.format(16))
    assert not passes(makes.format(17))
    assert list(temporary.iterdir()) == []


def test_number_of_open_files_and_pipes_is_limited() -> None:
    assert passes("import os\nn = 0\n" + caught("for n in range(1000): os.pipe()") + "assert 20 < n < 32")


# Processes, threads, network, signals


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("os", "fork()"),
        ("os", "posix_spawn('/bin/true', ['true'], {})"),
        ("os", "system('true')"),
        ("os", "execv('/bin/true', ['true'])"),
        ("subprocess", "run(['/bin/true'])"),
        ("multiprocessing", "Process(target=print).start()"),
        ("threading", "Thread(target=print).start()"),
        ("ctypes", "CDLL(None).fork()"),
        ("ctypes", "CDLL(None).kill(__import__('os').getppid(), 0)"),
        ("os", "kill(os.getppid(), 0)"),
        ("os", "kill(-os.getppid(), 0)"),
        ("os", "killpg(0, 0)"),
        ("signal", "pidfd_send_signal(0, 0)"),
        ("socket", "socket()"),
        ("socket", "socket(socket.AF_INET6, socket.SOCK_DGRAM)"),
        ("socket", "create_connection(('127.0.0.1', 9), timeout=0.1)"),
        ("socket", "getaddrinfo('localhost', 80)"),
    ],
)
def test_starting_a_process_or_using_the_network_fails_even_if_errors_are_caught(
    module: str, statement: str
) -> None:
    program = f"import {module}\n" + caught(f"{module}.{statement}")
    assert not passes(program)
    assert passes_uncontained(program)


@pytest.mark.parametrize("statement", ["socket(socket.AF_UNIX)", "socketpair()"])
def test_local_sockets_are_unavailable(statement: str) -> None:
    assert passes("import socket\n" + refused(f"socket.{statement}"))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86_64 has a second set of system calls")
def test_system_calls_of_32_bits_are_blocked() -> None:
    getpid = "b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3'"  # mov eax, 20; int 0x80; ret
    program = (
        f"import ctypes, mmap\npage = mmap.mmap(-1, 4096, prot=7)\npage.write({getpid})\n"
        "start = ctypes.addressof(ctypes.c_char.from_buffer(page))\n"
        "ctypes.CFUNCTYPE(ctypes.c_int)(start)()"
    )
    assert not passes(program)


@pytest.mark.parametrize(
    "number",
    [425, 428, 430, 434, 437, 444],
    ids=["io_uring", "open_tree", "fsopen", "pidfd_open", "openat2", "landlock"],
)
def test_unneeded_system_calls_are_blocked(number: int) -> None:
    assert passes(
        "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"assert libc.syscall({number}, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == errno.ENOSYS"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "os.kill(os.getppid(), 9)",
        "ctypes.CDLL(None).kill(os.getppid(), 9)",
        "ctypes.CDLL(None).sigqueue(os.getppid(), 9, None)",
        "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))",
        "r, w = os.pipe(); fcntl.fcntl(r, 8, os.getppid()); fcntl.fcntl(r, 10, 9); "  # F_SETOWN, F_SETSIG
        "fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC); os.write(w, b'x')",
    ],
)
def test_program_that_tries_to_kill_its_parent_fails_and_the_parent_survives(statement: str) -> None:
    def parent() -> None:
        assert not passes("import ctypes, fcntl, os, resource\n" + statement)
        sum(i for i in range(200_000))  # some processor time, for the limit on it

    assert os.waitpid(in_forked_process(parent), 0)[1] == 0


def test_no_process_outlives_a_program_that_forks_twice(temporary: Path) -> None:
    program = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(60)"
    assert not passes(program)
    assert processes_within(temporary) == []


def test_program_is_killed_together_with_its_parent(temporary: Path) -> None:
    program = "import time\nopen('begun', 'w').close()\ntime.sleep(60)"
    parent = in_forked_process(lambda: passes(program, Limits(seconds=60)))
    assert eventually(lambda: list(temporary.glob("*/begun")) != [])
    os.kill(parent, 9)
    os.waitpid(parent, 0)
    assert eventually(lambda: processes_within(temporary) == [])


def test_program_is_killed_even_while_its_parent_is_stopped(temporary: Path) -> None:
    spins = "open('begun', 'w').close()\nwhile True: pass"
    parent = in_forked_process(lambda: passes(spins, Limits(seconds=1)))
    assert eventually(lambda: list(temporary.glob("*/begun")) != [])
    os.kill(parent, signal.SIGSTOP)
    try:
        assert eventually(lambda: processes_within(temporary) == [])
    finally:
        os.kill(parent, signal.SIGCONT)
        os.waitpid(parent, 0)


def test_terminal_interrupt_changes_no_verdict(temporary: Path) -> None:
    def parent() -> None:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, lambda *_: None)
        assert passes("import time\nopen('begun', 'w').close()\ntime.sleep(0.3)")

    child = in_forked_process(parent)
    assert eventually(lambda: list(temporary.glob("*/begun")) != [])
    os.killpg(child, signal.SIGINT)
    assert os.waitpid(child, 0)[1] == 0


# Files and the environment


@pytest.mark.parametrize(
    "statement",
    [
        "open(outside_file).read()",
        "os.listdir(home)",
        "open(outside_file, 'w')",
        "open(outside_file, 'a')",
        "open(outside_file, 'r+')",
        "open(home + '/new', 'w')",
        "open('../new', 'w')",
        "os.open(outside_file, os.O_RDONLY | os.O_TRUNC)",
        "os.truncate(outside_file, 0)",
        "os.remove(outside_file)",
        "os.rename(outside_file, 'mine')",
        "os.rename(outside_file, outside_file + '2')",
        "os.link(outside_file, 'mine')",
        "os.symlink(outside_file, 'mine')",
        "os.mkdir(home + '/new')",
        "os.rmdir(home)",
        "os.mkfifo(home + '/new')",
        "os.chmod(outside_file, 0o777)",
        "os.chown(outside_file, 1, 1)",
        "os.utime(outside_file, (0, 0))",
        "os.setxattr(outside_file, 'user.a', b'1')",
        "os.chroot(home)",
        "open('/etc/passwd').read()",
        "os.listdir('/')",
        "open('/proc/self/environ').read()",
        "open(f'/proc/{os.getppid()}/environ').read()",
        "open('/proc/self/mem', 'r+b')",
        "open('/dev/shm/new', 'w')",
        "os.memfd_create('a')",
        "os.sched_setaffinity(os.getppid(), {0})",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    ],
)
def test_files_outside_are_neither_read_nor_changed(statement: str, outside_file: Path) -> None:
    paths = f"import os\nhome, outside_file = {str(outside_file.parent)!r}, {str(outside_file)!r}\n"
    assert passes(paths + refused(statement))


def test_program_that_writes_outside_its_directory_fails(outside_file: Path) -> None:
    assert not passes(f"open({str(outside_file)!r}, 'a').write('x')")


def test_readable_files_cannot_be_truncated_or_changed(
    outside_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "READABLE", (*run.READABLE, str(outside_file.parent)))
    assert passes(f"assert open({str(outside_file)!r}).read() == 'dear diary'")
    assert passes(refused(f"os.open({str(outside_file)!r}, os.O_RDONLY | os.O_TRUNC)"))
    assert passes(refused(f"open({str(outside_file)!r}, 'a')"))
    assert passes(refused(f"os.fchmod(os.open({str(outside_file)!r}, os.O_RDONLY), 0o777)"))


def test_no_environment_variable_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    assert passes("import os\nassert set(os.environ) <= {'PYTHONHASHSEED', 'LC_CTYPE'}, os.environ")


@pytest.mark.parametrize("module", ["planted", "pytest", "lori_cl", "limits"])
def test_only_the_standard_library_can_be_imported(
    module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "planted.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert not passes(f"import {module}")


def test_no_open_file_descriptor_is_inherited(outside_file: Path) -> None:
    with outside_file.open() as opened:
        os.set_inheritable(opened.fileno(), True)
        assert passes(
            "import os\n"
            "for fd in range(4, 64):\n"
            "    try: os.fstat(fd)\n    except OSError: pass\n    else: raise SystemExit('one is')"
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
def test_programs_have_no_privileges_even_under_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "READABLE", (*run.READABLE, str(tmp_path)))
    others = tmp_path / "others"
    others.mkdir(mode=0o700)
    assert passes(f"import os; os.listdir({str(others)!r})")
    os.chown(others, 12345, 12345)
    assert passes(refused(f"os.listdir({str(others)!r})"))


# Machines on which programs cannot be contained


KILL, ALLOW, ABSENT = 0x8000_0000, 0x7FFF_0000, 0x0005_0000 | 38


def decision(machine: str, own: int, number: int, *arguments: int) -> int:
    """Return the kernel's action when the filter of a machine meets a system call of architecture `own`."""
    data = struct.pack("=iIQ6Q", number, own, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = list(struct.iter_unpack("=HBBI", system_call_filter(machine)))
    at, loaded = 0, 0
    while True:
        code, skip_if, skip_unless, value = steps[at]
        at += 1
        if code == 0x20:
            loaded = struct.unpack_from("=I", data, value)[0]
        elif code == 0x54:
            loaded &= value
        elif code == 0x15:
            at += skip_if if loaded == value else skip_unless
        elif code == 0x35:
            at += skip_if if loaded >= value else skip_unless
        else:
            assert code == 0x06
            return int(value)


def test_arm_filter_decides_like_the_x86_filter() -> None:
    x86, arm = MACHINES["x86_64"], MACHINES["aarch64"]
    calls = {
        "read": (0, 63),
        "clone": (56, 220),
        "socket": (41, 198),
        "openat": (257, 56),
        "mkdirat": (258, 34),
    }
    made = [("read", ()), ("clone", ()), ("socket", (2,)), ("socket", (1,)), ("mkdirat", ())]
    made += [
        ("openat", (0, 0, flags))
        for flags in (os.O_RDONLY, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_TRUNC)
    ]
    expected = [ALLOW, KILL, KILL, ABSENT, ABSENT, ALLOW, ABSENT, ALLOW]
    assert [decision("x86_64", x86, calls[name][0], *arguments) for name, arguments in made] == expected
    assert [decision("aarch64", arm, calls[name][1], *arguments) for name, arguments in made] == expected
    assert decision("aarch64", x86, 63) == decision("x86_64", arm, 0) == KILL


def test_nothing_runs_on_an_unsupported_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ContainmentMissing, match=r"on Linux, not on darwin"):
        require_containment()


def test_nothing_runs_on_an_unsupported_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(ContainmentMissing, match="on x86_64 or aarch64, not on riscv64"):
        pass_all(["pass"])


def refuse_landlock() -> None:
    """Make this process and its children see a kernel without Landlock."""
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, ABSENT), (0x06, 0, 0, ALLOW)]
    libc = ctypes.CDLL(None)
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, struct.pack("HP", len(steps), ctypes.addressof(instructions)), 0, 0) == 0


def test_nothing_runs_without_landlock() -> None:
    def check_on_old_kernel() -> None:
        refuse_landlock()
        needed = r"not implemented: 'Landlock'. This requires Linux 5.13"
        with pytest.raises(ContainmentMissing, match=needed):
            passes("")

    assert os.waitpid(in_forked_process(check_on_old_kernel), 0)[1] == 0


def test_nothing_runs_without_the_seccomp_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "system_call_filter", lambda machine: b"")
    with pytest.raises(ContainmentMissing, match="Invalid argument: 'seccomp'"):
        passes("")


@pytest.mark.parametrize(
    ("executable", "message"), [("/bin/false", "the interpreter does not start"), ("/none", "No such file")]
)
def test_interpreter_that_does_not_start_is_reported(
    executable: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(ContainmentMissing, match=message):
        passes("")


def test_unreadable_python_library_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PROBE_IMPORTS", "import no_such_module")
    unreadable = r"cannot import Python's standard library.*/lib and readable"
    with pytest.raises(ContainmentMissing, match=unreadable):
        require_containment()
