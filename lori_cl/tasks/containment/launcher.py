"""Contains its own process, then runs one program in it, and tells when the program came to its end.

run.py starts this file as a script, without lori_cl. Stdin is one marshalled job:
    program    the source
    contained  what is written once the process is contained
    token      what is written, last of all, once the program came to its end
    parent     the process that waits; the program dies with it
    resources  the most of each resource.RLIMIT_...
    readable   paths of the Python installation, beyond sys.path
    filter     from system_calls.py
Both are written to stdout, around what the program prints. Where a layer fails, stderr tells, and the program
does not run.

Source: Linux, Documentation/userspace-api/landlock.rst and seccomp_filter.rst; capset(2), prctl(2).
"""

from __future__ import annotations

import ctypes
import marshal
import os
import resource
import struct
import sys
from collections.abc import Iterable, Mapping
from types import ModuleType

SET_PARENT_DEATH_SIGNAL, SET_SECCOMP, SET_NO_NEW_PRIVILEGES = 1, 22, 38  # prctl
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # Landlock's system calls, the same on every machine
WRITE_FILE, READ_FILE, READ_DIR, REMOVE_FILE, MAKE_FILE = (1 << bit for bit in (1, 2, 3, 5, 8))
EVERY_RIGHT = (1 << 13) - 1  # of Landlock's first version; what later ones added, the filter has no call for

libc = ctypes.CDLL(None, use_errno=True)


def must(what: str, result: int) -> int:
    """The result of a system call. Raises: OSError, where it was refused."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)
    return result


def limit(resources: Mapping[str, int]) -> None:
    """Take no more than this, nor than this process could have had."""
    for name, most in resources.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def drop_privileges(parent: int) -> None:
    """Have no privilege, not even root's, never gain one, and die with the parent."""
    must("capset", libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)))
    must("prctl", libc.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    must("prctl", libc.prctl(SET_PARENT_DEATH_SIGNAL, 9, 0, 0, 0))
    if os.getppid() != parent:
        raise ProcessLookupError("the parent has ended")


def confine_to_files(readable: Iterable[str]) -> None:
    """Read only these, and read, write and remove plain files in the working directory (Landlock)."""
    ruleset = must("Landlock", libc.syscall(CREATE_RULESET, struct.pack("Q", EVERY_RIGHT), 8, 0))
    here = WRITE_FILE | READ_FILE | READ_DIR | REMOVE_FILE | MAKE_FILE
    for path, rights in [(".", here), *((path, READ_FILE | READ_DIR) for path in readable)]:
        if os.path.exists(path):  # noqa: PTH110  (pathlib is slow to import)
            beneath = os.open(path, os.O_PATH)
            rights = rights if os.path.isdir(path) else READ_FILE  # noqa: PTH112
            must("Landlock", libc.syscall(ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, beneath), 0))
            os.close(beneath)
    must("Landlock", libc.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def confine_to_system_calls(steps: bytes) -> None:
    """Have only the system calls that the filter leaves (seccomp)."""
    held = ctypes.create_string_buffer(steps)
    program = struct.pack("HP", len(steps) // 8, ctypes.addressof(held))
    must("seccomp", libc.prctl(SET_SECCOMP, 2, program, 0, 0))


def run(source: str) -> bool:
    """Run the program as __main__, in a namespace of its own. True, once it came to its end."""
    sys.modules["__main__"] = module = ModuleType("__main__")
    exec(compile(source, "<program>", "exec", dont_inherit=True), vars(module))  # noqa: S102  (contained by now)
    return True


def conclude(stream: int, token: bytes, ended: bool) -> None:
    """Tell that the program came to its end, and leave before anything it left behind can run."""
    assert ended
    os.write(stream, token)
    os._exit(0)


def main() -> None:
    """Do the job on stdin."""
    with open(0, "rb", closefd=False) as stdin:
        job = marshal.loads(stdin.read())  # noqa: S302  (from our own parent)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    stream = os.dup(1)  # the program may close its own
    limit(job["resources"])
    drop_privileges(job["parent"])
    confine_to_files([*sys.path, *job["readable"]])
    confine_to_system_calls(job["filter"])
    os.write(stream, job["contained"])
    try:
        # The token waits on the interpreter's stack, in no variable that the program could look into.
        conclude(stream, job.pop("token"), run(job["program"]))
    except BaseException:  # SystemExit, too, is no end, whatever its code
        os._exit(1)


if __name__ == "__main__":
    main()
