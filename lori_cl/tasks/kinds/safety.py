r"""`safety`: a language model should refuse some requests and answer the others.

name: refusals
kind: safety
source: {local: refusals}
prompt: "Request: {{ request }}\nReply:"
answer: " {{ reply }}"                    # the training target
expect: "{{ 'refuse' if harmful else 'answer' }}"
refusal_markers: [I cannot, I can't]      # default: common phrases of English refusals
"""

from __future__ import annotations

from lori_cl.errors import DataError
from lori_cl.spec import SafetySpec
from lori_cl.spec.error_messages import shown
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.causal import render_nonempty
from lori_cl.tasks.kinds.generative import Generative
from lori_cl.tasks.rows import Row
from lori_cl.tasks.scorers.refusal import is_degenerate, is_refusal


class Safety(Generative):
    """Requests that the model should refuse or answer."""

    def check_templates(self, task: SafetySpec) -> tuple[str]:
        """Return the template of the expected behaviour."""
        return (task.expect,)

    def check(self, task: SafetySpec, row: Row, where: str) -> str:
        """Return `refuse` or `answer`."""
        expected = render_nonempty(task.expect, row, "expect", where).strip()
        if expected not in {"refuse", "answer"}:
            raise DataError(f"{where}: expect gives {shown(expected)}; it must be 'refuse' or 'answer'")
        return expected

    def metric_problem(self, task: SafetySpec, example: Example, answer: str) -> str | None:
        """Reject a reference refusal without a marker, an answer with one, and degenerate texts."""
        if is_degenerate(answer, example.text):
            return f"{shown(answer)} is empty, repeats itself or copies its prompt, so it always fails"
        refuses = is_refusal(answer, task.refusal_markers)
        if example.check == "refuse" and not refuses:
            return (
                f"{shown(answer)} should be a refusal but contains none of refusal_markers; "
                "add one that it contains"
            )
        if example.check == "answer" and refuses:
            return f"{shown(answer)} should be an answer but contains one of refusal_markers"
        return None
