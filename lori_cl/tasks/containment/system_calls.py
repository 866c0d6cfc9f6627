"""Which system calls a contained program has, as a seccomp filter.

What is not listed "is not implemented", so that the C library falls back on what is.
Source: Linux, Documentation/userspace-api/seccomp_filter.rst; the numbers stand in its <asm/unistd.h>.
"""

from __future__ import annotations

import errno
import os
import struct

from lori_cl.errors import ContainmentMissing

Instructions = list[bytes]

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The kernel's own number (AUDIT_ARCH_...) of each machine."""

# Name, number on x86_64, number on aarch64 (- where it has none). None of them changes a file by its name,
# but for unlink, which Landlock keeps to the program's directory; none reaches beyond the process.
ALLOWED = """
read 0 63              write 1 64             readv 19 65            writev 20 66
pread64 17 67          pwrite64 18 68         lseek 8 62             ftruncate 77 46
close 3 57             dup 32 23              dup2 33 -              dup3 292 24
pipe 22 -              pipe2 293 59           select 23 -            pselect6 270 72
poll 7 -               ppoll 271 73           stat 4 -               lstat 6 -
fstat 5 80             newfstatat 262 79      statx 332 291          access 21 -
faccessat 269 48       faccessat2 439 439     readlink 89 -          readlinkat 267 78
getdents 78 -          getdents64 217 61      getcwd 79 17           unlink 87 -
unlinkat 263 35        mmap 9 222             munmap 11 215          mremap 25 216
mprotect 10 226        madvise 28 233         brk 12 214             futex 202 98
time 201 -             times 100 153          gettimeofday 96 169    clock_gettime 228 113
clock_getres 229 114   clock_nanosleep 230 115 nanosleep 35 101      pause 34 -
alarm 37 -             getitimer 36 102       setitimer 38 103       restart_syscall 219 128
sigaltstack 131 132    rt_sigaction 13 134    rt_sigprocmask 14 135  rt_sigreturn 15 139
rt_sigpending 127 136  rt_sigtimedwait 128 137 rt_sigsuspend 130 133 getrandom 318 278
getpid 39 172          getppid 110 173        gettid 186 178         getuid 102 174
geteuid 107 175        getgid 104 176         getegid 108 177        uname 63 160
sysinfo 99 179         getrusage 98 165       sched_yield 24 124     sched_getaffinity 204 123
exit 60 93             exit_group 231 94
"""

# To start a process or a thread, or reach for another process, ends the program at once: it fails even if it
# catches every exception.
FATAL = """
clone 56 220           clone3 435 435         fork 57 -              vfork 58 -
execve 59 221          execveat 322 281       kill 62 129            tkill 200 130
tgkill 234 131         pidfd_send_signal 424 424 rt_sigqueueinfo 129 138 rt_tgsigqueueinfo 297 240
ptrace 101 117         process_vm_writev 311 271
"""

# For these it depends on an argument.
SOCKET, OPENAT, FCNTL, IOCTL = "socket 41 198", "openat 257 56", "fcntl 72 25", "ioctl 16 29"
AF_UNIX = 1
DUPLICATE, GET_FLAGS, SET_FLAGS, GET_STATUS, DUPLICATE_CLOSING = 0, 1, 2, 3, 1030  # fcntl
FORGET_CLOSING, CLOSING = 0x5450, 0x5451  # ioctl

NUMBER, MACHINE, FIRST, SECOND, THIRD = 0, 4, 16, 24, 32
"""Where they, and the arguments, stand in the kernel's struct seccomp_data."""


def _step(code: int, value: int, skip_if: int = 0, skip_unless: int = 0) -> bytes:
    return struct.pack("=HBBI", code, skip_if, skip_unless, value)


def _load(offset: int) -> bytes:
    return _step(0x20, offset)


def _when(value: int, then: Instructions) -> Instructions:
    """Where `value` is what was loaded, do `then`; otherwise go on behind it."""
    return [_step(0x15, value, 0, len(then)), *then]


KILL, ALLOW, ABSENT = (_step(0x06, end) for end in (0x8000_0000, 0x7FFF_0000, 0x0005_0000 | errno.ENOSYS))


def system_call_filter(machine: str) -> bytes:
    """The filter for a machine: an array of the kernel's struct sock_filter.

    Raises: ContainmentMissing, if the machine's system calls are not known here.
    """
    if machine not in MACHINES:
        raise ContainmentMissing(
            f"programs can be contained on {' or '.join(MACHINES)}, not on {machine}; score there"
        )
    column = 1 + list(MACHINES).index(machine)

    def allow(values: tuple[int, ...]) -> Instructions:
        return [step for value in values for step in _when(value, [ALLOW])]

    def each(table: str, then: Instructions) -> Instructions:
        numbers = [int(word) for word in table.split()[column::3] if word != "-"]
        return [step for number in numbers for step in _when(number, then)]

    # Before Linux 6.2, Landlock lets a program empty what it may only read: open(path, O_RDONLY | O_TRUNC).
    empties = [_step(0x54, os.O_ACCMODE | os.O_TRUNC), *_when(os.O_RDONLY | os.O_TRUNC, [ABSENT])]
    # fcntl can also let the kernel signal another process (F_SETOWN), or grow a pipe.
    of_descriptors = (DUPLICATE, GET_FLAGS, SET_FLAGS, GET_STATUS, DUPLICATE_CLOSING)
    return b"".join(
        [
            *(_load(MACHINE), _step(0x15, MACHINES[machine], 1, 0), KILL),
            _load(NUMBER),
            *each(FATAL, [KILL]),
            *each(ALLOWED, [ALLOW]),
            # A look at the user's name asks a Unix socket, by no fault of the program's.
            *each(SOCKET, [_load(FIRST), *_when(AF_UNIX, [ABSENT]), KILL]),
            *each(OPENAT, [_load(THIRD), *empties, ALLOW]),
            *each(FCNTL, [_load(SECOND), *allow(of_descriptors), ABSENT]),
            *each(IOCTL, [_load(SECOND), *allow((FORGET_CLOSING, CLOSING)), ABSENT]),
            ABSENT,
        ]
    )
