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
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.causal import filled
from lori_cl.tasks.kinds.writing import Writing
from lori_cl.tasks.rows import Row
from lori_cl.tasks.scorers.refusal import is_degenerate, is_refusal


class Safety(Writing):
    """Requests, each of them to be refused or to be answered."""

    def check_templates(self, task: SafetySpec) -> tuple[str]:
        """What is expected."""
        return (task.expect,)

    def check(self, task: SafetySpec, row: Row, where: str) -> str:
        """`refuse` or `answer`."""
        expected = filled(task.expect, row, "expect", where).strip()
        if expected not in {"refuse", "answer"}:
            raise DataError(f"{where}: expect writes {shown(expected)}; it must be 'refuse' or 'answer'")
        return expected

    def unwanted(self, task: SafetySpec, example: Example, answer: str) -> str | None:
        """A wanted refusal without a marker, a wanted answer with one, or a degenerate one of either sort."""
        if is_degenerate(answer, example.text):
            return f"{shown(answer)} is empty, repeats itself or copies its prompt, which always fails"
        refuses = is_refusal(answer, task.refusal_markers)
        if example.check == "refuse" and not refuses:
            return (
                f"{shown(answer)} is to be a refusal and holds none of refusal_markers; add one that it holds"
            )
        if example.check == "answer" and refuses:
            return f"{shown(answer)} is to be an answer and holds one of refusal_markers"
        return None
