"""Contained programs try every known way to change or reveal something outside."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

import pytest

from lori_cl.tasks.containment import Limits, run
from lori_cl.tasks.containment.confinement import handled_rights
from lori_cl.tasks.containment.system_calls import ALLOWED, FATAL, MACHINES, PATH_CALLS

from .contained import passes, refused
from .test_containment import ABSENT, ALLOW, KILL, VERSION_OF_LANDLOCK, decision

if sys.platform != "linux" or ctypes.CDLL(None).syscall(*VERSION_OF_LANDLOCK) < 1:
    pytest.skip("programs can only be contained on Linux with Landlock", allow_module_level=True)

on_x86 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the system call numbers are those of x86_64"
)

CALL = (
    "def call(*arguments):\n"
    "    libc = ctypes.CDLL(None, use_errno=True)\n"
    "    if libc.syscall(*arguments) < 0: raise OSError(ctypes.get_errno(), 'refused')\n"
)

# One attempt per line. `outside_file` is an outside file that every user may change; `home` is its folder.
CHANGES = """
os.open(outside_file, 0 | os.O_TRUNC)
os.open(outside_file, 1 | os.O_TRUNC)
os.open(outside_file, 2 | os.O_TRUNC)
os.open(outside_file, 3 | os.O_TRUNC)
os.open(outside_file, 0 | os.O_TRUNC | os.O_CREAT)
os.open(outside_file, 3 | os.O_TRUNC | os.O_CREAT)
os.open(outside_file, 3)
os.open(outside_file, os.O_WRONLY)
os.open(outside_file, os.O_RDWR | os.O_APPEND)
os.open(home, os.O_TMPFILE | os.O_RDWR)
os.open('.', os.O_TMPFILE | os.O_RDWR)
os.open(outside_file, os.O_PATH)
os.open('.', os.O_PATH)
os.open('.', os.O_RDONLY | os.O_NOATIME)
os.open('a', os.O_CREAT | os.O_RDWR | os.O_SYNC)
os.open('a', os.O_CREAT | os.O_RDWR | os.O_ASYNC)
os.open('a', os.O_CREAT | os.O_RDWR | os.O_DIRECT)
call(2, outside_file.encode(), 3 | os.O_TRUNC)
call(85, outside_file.encode(), 0o600)
call(437, -100, outside_file.encode(), bytes(24), 24)
os.truncate(outside_file, 0)
os.remove(outside_file)
os.rename(outside_file, 'mine')
os.rename('.', home + '/x')
os.replace(outside_file, outside_file + '2')
os.link(outside_file, 'mine')
os.symlink(outside_file, 'mine')
os.mkdir('inner')
os.mkdir(home + '/inner')
os.rmdir(home)
os.mkfifo('fifo')
os.mknod('node')
os.chmod(outside_file, 0o777)
os.chmod('.', 0o777)
os.fchmod(os.open('.', os.O_RDONLY), 0o777)
os.chown(outside_file, 1, 1)
os.lchown(outside_file, 1, 1)
os.utime(outside_file, (0, 0))
os.setxattr(outside_file, 'user.a', b'1')
os.setxattr('.', 'user.a', b'1')
os.removexattr(outside_file, 'user.a')
call(95, 0)
os.chdir('/')
os.chroot('.')
os.fchdir(os.open('.', os.O_RDONLY))
os.posix_fallocate(os.open('a', os.O_CREAT | os.O_RDWR), 0, 100)
os.memfd_create('a')
os.eventfd(0) if hasattr(os, 'eventfd') else call(290, 0, 0)
os.copy_file_range(*os.pipe(), 1)
os.splice(*os.pipe(), 1) if hasattr(os, 'splice') else call(275, 0, 0, 0, 0, 0, 0)
os.sendfile(*os.pipe(), 0, 1)
os.setsid()
os.setpgid(0, 0)
os.nice(1)
os.setpriority(0, 0, 5)
os.setuid(0)
os.setgroups([])
os.sched_setaffinity(0, {0})
os.sched_setscheduler(0, 0, os.sched_param(0))
call(272, 0x10000000)
call(157, 15, b'name')
call(135, 0x0040000)
call(165, b'a', b'a', b'tmpfs', 0, 0)
call(248, b'user', b'a', b'b', 1, 0)
fcntl.fcntl(0, 8, os.getppid())
fcntl.fcntl(1, fcntl.F_SETFL, os.O_ASYNC)
fcntl.fcntl(os.open('.', 0), 1026, 1)
fcntl.fcntl(0, 1024, 0)
fcntl.fcntl(os.pipe()[0], 1031, 2**20)
fcntl.flock(0, 2)
fcntl.lockf(os.open('a', os.O_CREAT | os.O_RDWR), 2)
fcntl.ioctl(1, 0x5412, b'x')
resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
resource.prlimit(os.getppid(), resource.RLIMIT_CPU)
mmap.mmap(-1, 2**21, flags=0x40022)
mmap.mmap(-1, 4096, flags=0x2022)
mmap.mmap(-1, 4096).madvise(12)
mmap.mmap(-1, 4096).madvise(21)
mmap.mmap(-1, 4096).madvise(100)
call(293, ctypes.create_string_buffer(8), 0x80)
socket.socket(socket.AF_UNIX)
socket.socketpair()
select.epoll()
"""
REVEALS = """
os.stat(outside_file)
os.lstat(outside_file)
os.stat(home)
os.stat(home + '/nothing')
os.stat('..')
os.stat('/')
os.stat('/etc/passwd')
os.stat('/proc/1')
os.stat(f'/proc/{os.getppid()}')
os.stat('/dev/shm')
os.stat('/sys')
os.stat('/usr/lib/../../etc/passwd')
os.stat('./../..' + outside_file)
os.stat('../../../etc', dir_fd=os.open('/usr/lib', os.O_RDONLY))
os.stat('..', dir_fd=os.open('.', os.O_RDONLY))
call(21, outside_file.encode(), 0)
call(439, -100, outside_file.encode(), 0, 0)
os.readlink('/proc/self/exe')
os.readlink(outside_file)
os.open(outside_file, os.O_RDONLY)
call(2, outside_file.encode(), 0)
call(304, 0, 0, 0)
os.listdir(home)
os.listdir('..')
os.listdir('/proc')
os.statvfs('/')
open('/proc/self/maps')
open('/proc/self/stat')
open(f'/proc/{os.getppid()}/mem')
open('/proc/loadavg')
time.clock_gettime(~os.getppid() << 3 | 2)
time.clock_getres(~os.getppid() << 3 | 2)
call(230, ~os.getppid() << 3 | 2, 0, bytes(16), 0)
os.sched_getaffinity(os.getppid())
os.sched_getscheduler(os.getppid())
os.getpriority(0, os.getppid())
os.getpgid(os.getppid())
os.getsid(os.getppid())
call(434, os.getppid(), 0)
os.getxattr(outside_file, 'user.a')
os.getxattr('.', 'user.a')
os.listxattr(outside_file)
call(99, ctypes.create_string_buffer(200))
call(310, os.getppid(), 0, 0, 0, 0, 0)
call(27, 0, 4096, ctypes.create_string_buffer(9))
call(253)
call(300, 0, 0)
call(321, 0, 0, 0)
call(298, 0, 0, 0, 0, 0)
call(323, 0)
call(425, 1, 0)
call(461, 0, 0, 0)
"""


@on_x86
@pytest.mark.parametrize("statement", [*CHANGES.strip().splitlines(), *REVEALS.strip().splitlines()])
def test_nothing_outside_is_changed_or_revealed(statement: str, outside_file: Path) -> None:
    names = f"home, outside_file = {str(outside_file.parent)!r}, {str(outside_file)!r}\n"
    modules = "import ctypes, fcntl, mmap, os, resource, select, socket, time\n"
    assert passes(modules + CALL + names + refused(statement))
    assert outside_file.read_text() == "dear diary"


def test_existing_and_missing_outside_paths_look_the_same(outside_file: Path) -> None:
    helper = "def ask(path):\n    try: os.stat(path)\n    except OSError as e: return e.errno, e.strerror\n"
    comparison = f"assert ask({str(outside_file)!r}) == ask('/no/such/path') == (13, 'Permission denied')"
    assert passes(f"import os\n{helper}{comparison}")


def test_path_is_read_again_after_a_signal_interrupts_the_check(outside_file: Path) -> None:
    swaps = (
        "import ctypes, os, signal\n"
        f"inside, outside = b'a'.ljust(200, b'\\0'), {str(outside_file)!r}.encode().ljust(200, b'\\0')\n"
        "path = ctypes.create_string_buffer(inside, 200)\n"
        "def swap(*_): ctypes.memmove(path, outside if path.raw[0:1] == b'a' else inside, 200)\n"
        "signal.signal(signal.SIGALRM, swap)\nsignal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)\n"
        "libc, buffer = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(200)\n"
        "for _ in range(300):\n"
        "    if libc.access(path, 0) == 0: raise SystemExit('it exists')\n"
    )
    assert passes(swaps)


def test_host_name_is_hidden() -> None:
    assert passes("import os, platform\nassert os.uname().nodename == platform.node() == 'localhost'")
    assert passes(f"import os\nassert os.uname().release == {os.uname().release!r}")


@on_x86
def test_every_system_call_that_is_not_allowed_is_blocked() -> None:
    named = {int(row) for table in (ALLOWED, FATAL, PATH_CALLS) for row in table.split()[1::3] if row != "-"}
    checked_by_argument = {41, 72, 16, 293, 9, 28, 202, 204, 228, 229, 230}
    fatal_to_the_caller = {335, 336}  # uretprobe and uprobe kill their caller with or without the filter
    program = (
        "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"for number in sorted(set(range(600)) - {named | checked_by_argument | fatal_to_the_caller!r}):\n"
        "    for n in (number, number | 0x40000000):\n"  # system calls of x32
        "        assert libc.syscall(n, 0, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == errno.ENOSYS, n\n"
    )
    assert passes(program)


@pytest.mark.parametrize("machine", MACHINES)
def test_system_call_flags_are_checked_on_every_architecture(machine: str) -> None:
    column = list(MACHINES).index(machine)
    numbers = {
        "openat": (257, 56),
        "mmap": (9, 222),
        "madvise": (28, 233),
        "futex": (202, 98),
        "clock_gettime": (228, 113),
        "sched_getaffinity": (204, 123),
        "pipe2": (293, 59),
        "fcntl": (72, 25),
        "ioctl": (16, 29),
    }
    of_parent = (~1234 << 3 | 2) & 0xFFFF_FFFF
    tmpfile, direct = {"x86_64": (0o20200000, 0o40000), "aarch64": (0o20040000, 0o200000)}[machine]
    directory = {"x86_64": 0o200000, "aarch64": 0o40000}[machine]
    made = [
        *((("openat", (0, 0, mode)), ALLOW) for mode in (0, 1, 2, 0o2000 | 1, 0o100 | 0o200 | 2)),
        *((("openat", (0, 0, mode | os.O_TRUNC)), ALLOW) for mode in (1, 2)),
        *((("openat", (0, 0, mode | os.O_TRUNC)), ABSENT) for mode in (0, 3)),
        *((("openat", (0, 0, flags)), ABSENT) for flags in (3, tmpfile | 2, direct)),
        *((("openat", (0, 0, flags)), ABSENT) for flags in (0o10000000, 0o4010000, 0o20000)),
        (("openat", (0, 0, directory | 0o2000000)), ALLOW),
        *((("mmap", (0, 4096, 3, flags)), ALLOW) for flags in (0x22, 0x21, 0x12, 0x802)),
        *((("mmap", (0, 4096, 3, flags)), ABSENT) for flags in (0x40022, 0x2022, 0x80003)),
        *((("madvise", (0, 0, advice)), ABSENT) for advice in (12, 21, 100, 101)),
        *((("madvise", (0, 0, advice)), ALLOW) for advice in (4, 8)),
        *((("futex", (0, call)), answer) for call, answer in ((128, ALLOW), (393, ALLOW), (1, ABSENT))),
        *((("clock_gettime", (clock,)), ALLOW) for clock in range(12)),
        *((("clock_gettime", (clock,)), ABSENT) for clock in (12, of_parent)),
        *((("sched_getaffinity", (pid,)), answer) for pid, answer in ((0, ALLOW), (1, ABSENT))),
        *((("pipe2", (0, flags)), answer) for flags, answer in ((0o2000000, ALLOW), (0x80, ABSENT))),
        *((("fcntl", (0, command)), ABSENT) for command in (4, 8, 10, 1024, 1026, 1031)),
        *((("ioctl", (0, request)), ABSENT) for request in (0x5401, 0x5412, 0x5413)),
    ]
    for (name, arguments), answer in made:
        found = decision(machine, MACHINES[machine], numbers[name][column], *arguments)
        assert found == answer, (name, arguments)


@pytest.mark.parametrize(
    ("machine", "number"), [("x86_64", 437), ("aarch64", 437), ("x86_64", 2), ("x86_64", 85)]
)
def test_other_system_calls_that_open_files_are_blocked(machine: str, number: int) -> None:
    assert decision(machine, MACHINES[machine], number) == ABSENT


@pytest.mark.parametrize("machine", MACHINES)
def test_no_system_call_is_in_two_tables(machine: str) -> None:
    column = 1 + list(MACHINES).index(machine)
    allowed, fatal, paths = (set(t.split()[column::3]) - {"-"} for t in (ALLOWED, FATAL, PATH_CALLS))
    assert not allowed & (fatal | paths)
    assert not fatal & paths
    assert {decision(machine, MACHINES[machine], int(number)) for number in fatal} == {KILL}


@pytest.mark.parametrize(
    ("abi", "files", "network", "scopes"),
    [(1, 13, 0, 0), (2, 14, 0, 0), (3, 15, 0, 0), (4, 15, 2, 0), (5, 16, 2, 0), (6, 16, 2, 2), (9, 16, 2, 2)],
)
def test_every_landlock_right_of_the_kernel_is_handled(
    abi: int, files: int, network: int, scopes: int
) -> None:
    assert handled_rights(abi) == tuple(2**n - 1 for n in (files, network, scopes))


def everything_allowed(machine: str) -> bytes:
    """Build a filter that allows every system call."""
    return bytes.fromhex("060000000000ff7f")


@on_x86
@pytest.mark.skipif(
    ctypes.CDLL(None).syscall(*VERSION_OF_LANDLOCK) < 6, reason="older versions of Landlock have fewer rights"
)
@pytest.mark.parametrize(
    "statement",
    [
        *(f"os.open(outside_file, {mode} | os.O_TRUNC)" for mode in range(4)),
        *(
            "os.truncate(outside_file, 0)",
            "open(outside_file)",
            "open(outside_file, 'a')",
            "os.remove(outside_file)",
            "os.mkdir('a')",
        ),
        *("os.link(outside_file, home + '/a')", "os.symlink('a', 'b')", "os.kill(os.getppid(), 0)"),
        "socket.socket().connect(('127.0.0.1', 9))",
    ],
)
def test_landlock_alone_protects_files_outside(
    statement: str, outside_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "system_call_filter", everything_allowed)
    monkeypatch.setattr(run, "path_call_filter", everything_allowed)
    names = f"home, outside_file = {str(outside_file.parent)!r}, {str(outside_file)!r}\n"
    assert passes("import os, socket\n" + names + refused(statement), Limits(seconds=5))
    assert outside_file.read_text() == "dear diary"
