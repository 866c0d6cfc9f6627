"""Run model-written programs in a sandbox, and judge them with their tasks' tests.

Each program runs in its own process. It has no network, an empty temporary directory, and limits on processor
time, memory, files and output. It cannot start a process or thread, inherits no environment, and cannot find
out whether a path outside exists. If any of these restrictions is unavailable, nothing runs. The tests run in
a second contained process (judging.py, judge.py).

docs/reliability.md, "Generated programs", documents the limits of this containment.
"""

from lori_cl.tasks.containment.judging import CodeProblem, JudgingMode, judge_completions
from lori_cl.tasks.containment.limits import Limits, Verdict
from lori_cl.tasks.containment.run import judge_program, require_containment
from lori_cl.tasks.containment.split import Program

__all__ = [
    "CodeProblem",
    "JudgingMode",
    "Limits",
    "Program",
    "Verdict",
    "judge_completions",
    "judge_program",
    "require_containment",
]
