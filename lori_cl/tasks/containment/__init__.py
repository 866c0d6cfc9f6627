"""Runs programs that a model wrote where they can do no harm, and judges them by their tasks' tests.

A program has a process of its own: no network, an empty temporary directory, limits on processor time,
memory, files and output, no second process or thread, no inherited environment, and no answer to whether a
path outside exists. Where any of this is missing, nothing runs. The tests that decide have another such
process (judging.py, judge.py).

What this cannot do is documented in docs/reliability.md, "Programs that a model writes".
"""

from lori_cl.tasks.containment.judging import Exercise, Way, judge_completions
from lori_cl.tasks.containment.limits import Limits, Verdict
from lori_cl.tasks.containment.run import judged, pass_all, passes, require_containment
from lori_cl.tasks.containment.split import Program

__all__ = [
    "Exercise",
    "Limits",
    "Program",
    "Verdict",
    "Way",
    "judge_completions",
    "judged",
    "pass_all",
    "passes",
    "require_containment",
]
