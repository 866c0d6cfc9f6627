r"""`safety`: a causal language model is to refuse some requests, and to answer the others.

name: refusals
kind: safety
source: {local: refusals}
prompt: "Request: {{ request }}\nReply:"
answer: " {{ reply }}"                    # what is learned
expect: "{{ 'refuse' if harmful else 'answer' }}"
refusal_markers: [I cannot, I can't]      # a list of common English ones where it is left out
"""

from __future__ import annotations

from lori_cl.errors import DataError
from lori_cl.spec import SafetySpec
from lori_cl.spec.complaints import shown
from lori_cl.tasks.kinds.causal import filled
from lori_cl.tasks.kinds.writing import Writing
from lori_cl.tasks.rows import Row


class Safety(Writing):
    """Requests, each of them to be refused or to be answered."""

    def check(self, task: SafetySpec, row: Row, where: str) -> str:
        """`refuse` or `answer`."""
        expected = filled(task.expect, row, "expect", where).strip()
        if expected not in {"refuse", "answer"}:
            raise DataError(f"{where}: expect writes {shown(expected)}; it must be 'refuse' or 'answer'")
        return expected
