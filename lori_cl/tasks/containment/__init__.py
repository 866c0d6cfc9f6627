"""Programs that a model wrote, each run where it can do no harm, to see whether it passes its own asserts.

Every program has a process of its own: no network, an empty temporary directory, limits on time, memory,
files and output, no second process or thread, no inherited environment. Where any of this is missing, none
runs.

What containment cannot do: a program shares its process with its tests, so one that is written to deceive
them (an __eq__ that is always true, a search of its own memory for the proof of its end) can.
"""

from lori_cl.tasks.containment.limits import Limits
from lori_cl.tasks.containment.run import pass_all, passes, require_containment

__all__ = ["Limits", "pass_all", "passes", "require_containment"]
