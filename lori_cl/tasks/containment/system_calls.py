"""The system calls that a contained program may use, as seccomp filters.

This is an allow list. A call that is not listed fails with ENOSYS, so that the C library falls back to
another call. If a call's flags can do more than read and write the program's own memory and files, only the
listed flags are allowed. A filter cannot inspect a struct in memory, so openat2 and clone3 are not allowed.
Source: Linux, Documentation/userspace-api/seccomp_filter.rst; the numbers are from <asm/unistd.h>.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterable

from lori_cl.errors import ContainmentMissing

Instructions = list[bytes]

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The kernel's architecture number (AUDIT_ARCH_...) of each machine."""

SECCOMP = {"x86_64": 317, "aarch64": 277}
"""The number of seccomp(2)."""

# Name, number on x86_64, number on aarch64 (- if it has none). With any arguments, none of them affects more
# than the process and the files that it may open.
ALLOWED = """
read 0 63              write 1 64             readv 19 65            writev 20 66
pread64 17 67          pwrite64 18 68         lseek 8 62             ftruncate 77 46
close 3 57             dup 32 23              dup2 33 -              dup3 292 24
pipe 22 -              select 23 -            pselect6 270 72
poll 7 -               ppoll 271 73           fstat 5 80
getdents 78 -          getdents64 217 61      getcwd 79 17
munmap 11 215          mremap 25 216          mprotect 10 226        brk 12 214
time 201 -             times 100 153          gettimeofday 96 169    nanosleep 35 101
pause 34 -             alarm 37 -             getitimer 36 102       setitimer 38 103
restart_syscall 219 128 sigaltstack 131 132   rt_sigaction 13 134    rt_sigprocmask 14 135
rt_sigreturn 15 139    rt_sigpending 127 136  rt_sigtimedwait 128 137 rt_sigsuspend 130 133
getrandom 318 278      getpid 39 172          getppid 110 173        gettid 186 178
getuid 102 174         geteuid 107 175        getgid 104 176         getegid 108 177
getrusage 98 165       sched_yield 24 124     exit 60 93             exit_group 231 94
"""

# A path is in memory, which the filter cannot inspect. The supervisor reads it and allows or refuses the call
# (path_broker.py). uname reveals the host name, so the supervisor answers it.
PATH_CALLS = """
openat 257 56          stat 4 -               lstat 6 -              newfstatat 262 79
statx 332 291          access 21 -            faccessat 269 48       faccessat2 439 439
readlink 89 -          readlinkat 267 78      unlink 87 -            unlinkat 263 35
uname 63 160
"""

# Starting a process or a thread, or accessing another process, kills the program at once. So it fails even if
# it catches every exception.
FATAL = """
clone 56 220           clone3 435 435         fork 57 -              vfork 58 -
execve 59 221          execveat 322 281       kill 62 129            tkill 200 130
tgkill 234 131         pidfd_send_signal 424 424 rt_sigqueueinfo 129 138 rt_tgsigqueueinfo 297 240
ptrace 101 117         process_vm_writev 311 271
"""

# These calls are allowed depending on an argument.
SOCKET, OPENAT, FCNTL, IOCTL, PIPE2 = (
    "socket 41 198",
    "openat 257 56",
    "fcntl 72 25",
    "ioctl 16 29",
    "pipe2 293 59",
)
MMAP, MADVISE, FUTEX, AFFINITY = "mmap 9 222", "madvise 28 233", "futex 202 98", "sched_getaffinity 204 123"
CLOCKS = "clock_gettime 228 113 clock_getres 229 114 clock_nanosleep 230 115"

AF_UNIX = 1
DUPLICATE, GET_FLAGS, SET_FLAGS, GET_STATUS, DUPLICATE_CLOSE_ON_EXEC = 0, 1, 2, 3, 1030  # fcntl
CLEAR_CLOSE_ON_EXEC, SET_CLOSE_ON_EXEC = 0x5450, 0x5451  # ioctl
LARGE_FILE = 0o100000 | 0o400000  # O_LARGEFILE on x86_64 and on aarch64; Python's own constant hides it

# Not O_TMPFILE (a file without a name is not counted), O_PATH, O_ASYNC, O_DIRECT, O_SYNC, O_NOATIME.
OPEN_FLAGS = (
    *(os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_EXCL, os.O_NOCTTY, os.O_TRUNC, os.O_APPEND),
    *(os.O_NONBLOCK, os.O_CLOEXEC, os.O_NOFOLLOW, LARGE_FILE),
)
DIRECTORY = {"x86_64": 0o200000, "aarch64": 0o40000}
TRUNCATING = (os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_TRUNC)
# Not MAP_HUGETLB, which uses a machine-wide pool, nor MAP_LOCKED.
MMAP_FLAGS = 0x1 | 0x2 | 0x10 | 0x20 | 0x100 | 0x800 | 0x1000 | 0x4000 | 0x8000 | 0x10000 | 0x20000 | 0x100000
# Not MADV_MERGEABLE and MADV_PAGEOUT, whose timing reveals other processes' pages.
MADVICE = (0, 1, 2, 3, 4, 8, 14, 15, 16, 17)
# Wait and wake within the process: FUTEX_PRIVATE_FLAG, with and without FUTEX_CLOCK_REALTIME.
FUTEX_CALLS = tuple(128 | clock | call for call in (0, 1, 9, 10) for clock in (0, 256))
FIRST_UNKNOWN_CLOCK = 12  # a negative clock belongs to another process or an open device

NUMBER, MACHINE, FIRST, SECOND, THIRD, FOURTH = 0, 4, 16, 24, 32, 40
"""Offsets of the call number, the machine and the arguments in the kernel's struct seccomp_data."""


def _step(code: int, value: int, skip_if: int = 0, skip_unless: int = 0) -> bytes:
    return struct.pack("=HBBI", code, skip_if, skip_unless, value)


def _load(offset: int) -> bytes:
    return _step(0x20, offset)


def _and(mask: int) -> bytes:
    return _step(0x54, mask & 0xFFFF_FFFF)


def _when(value: int, then: Instructions) -> Instructions:
    """If the loaded value equals `value`, run `then`; otherwise skip it."""
    return [_step(0x15, value, 0, len(then)), *then]


def _below(value: int, then: Instructions) -> Instructions:
    """If the loaded value is less than `value`, run `then`; otherwise skip it."""
    return [_step(0x35, value, len(then), 0), *then]


KILL, ALLOW, NOTIFY, ABSENT = (
    _step(0x06, end) for end in (0x8000_0000, 0x7FFF_0000, 0x7FC0_0000, 0x0005_0000 | errno.ENOSYS)
)


def system_call_filter(machine: str) -> bytes:
    """Return the filter for a machine: an array of the kernel's struct sock_filter.

    Raises: ContainmentMissing: the machine is not supported.
    """
    numbers = _numbers_on(machine)

    def each(table: str, then: Instructions) -> Instructions:
        return [step for number in numbers(table) for step in _when(number, then)]

    def one_of(argument: int, values: Iterable[int], mask: int = 0xFFFF_FFFF) -> Instructions:
        allowed = [step for value in values for step in _when(value, [ALLOW])]
        return [_load(argument), _and(mask), *allowed, ABSENT]

    def only_flags(argument: int, flags: int) -> Instructions:
        return one_of(argument, [0], ~flags)

    # Landlock requires no right to open a file with access mode 3, and before Linux 6.2 none to open a file
    # read-only and truncate it with O_TRUNC.
    open_flags = _combine(OPEN_FLAGS) | DIRECTORY[machine]
    modes = [
        step for mode in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, *TRUNCATING) for step in _when(mode, [ALLOW])
    ]
    opening = [
        *(_load(THIRD), _and(~open_flags), _step(0x15, 0, 1, 0), ABSENT),
        *(_load(THIRD), _and(os.O_ACCMODE | os.O_TRUNC), *modes, ABSENT),
    ]
    # fcntl can also make the kernel signal another process (F_SETOWN), watch a directory, or enlarge a pipe.
    descriptor_commands = (DUPLICATE, GET_FLAGS, SET_FLAGS, GET_STATUS, DUPLICATE_CLOSE_ON_EXEC)
    return b"".join(
        [
            *_of_machine(machine),
            *each(FATAL, [KILL]),
            *each(OPENAT, opening),
            *each(ALLOWED, [ALLOW]),
            *each(PATH_CALLS, [ALLOW]),  # the other filter delegates them to the supervisor
            # Python opens a Unix socket to look up the user name; the program is not killed for that.
            *each(SOCKET, [_load(FIRST), *_when(AF_UNIX, [ABSENT]), KILL]),
            *each(FCNTL, one_of(SECOND, descriptor_commands)),
            *each(IOCTL, one_of(SECOND, (CLEAR_CLOSE_ON_EXEC, SET_CLOSE_ON_EXEC))),
            *each(PIPE2, only_flags(SECOND, os.O_CLOEXEC | os.O_NONBLOCK)),
            *each(MMAP, only_flags(FOURTH, MMAP_FLAGS)),
            *each(MADVISE, one_of(THIRD, MADVICE)),
            *each(FUTEX, one_of(SECOND, FUTEX_CALLS)),
            *each(AFFINITY, one_of(FIRST, [0])),  # for another pid, it reveals whether the process exists
            *each(CLOCKS, [_load(FIRST), *_below(FIRST_UNKNOWN_CLOCK, [ALLOW]), ABSENT]),
            ABSENT,
        ]
    )


def path_call_filter(machine: str) -> bytes:
    """Return the filter that delegates the path calls to the supervisor, and allows all other calls.

    Raises: ContainmentMissing: the machine is not supported.
    """
    delegated = [step for number in _numbers_on(machine)(PATH_CALLS) for step in _when(number, [NOTIFY])]
    return b"".join([*_of_machine(machine), *delegated, ALLOW])


def path_calls(machine: str) -> dict[int, str]:
    """Return the names of the calls that are delegated to the supervisor, by number."""
    numbers, names = _numbers_on(machine), PATH_CALLS.split()[::3]
    rows = [PATH_CALLS.split()[at : at + 3] for at in range(0, 3 * len(names), 3)]
    return {number: row[0] for row in rows for number in numbers(" ".join(row))}


def _of_machine(machine: str) -> Instructions:
    return [_load(MACHINE), _step(0x15, MACHINES[machine], 1, 0), KILL, _load(NUMBER)]


def _numbers_on(machine: str) -> Callable[[str], list[int]]:
    if machine not in MACHINES:
        raise ContainmentMissing(
            f"programs can be contained only on {' or '.join(MACHINES)}, not on {machine}; "
            "score on such a machine"
        )
    column = 1 + list(MACHINES).index(machine)
    return lambda table: [int(word) for word in table.split()[column::3] if word != "-"]


def _combine(flags: Iterable[int]) -> int:
    combined = 0
    for flag in flags:
        combined |= flag
    return combined
