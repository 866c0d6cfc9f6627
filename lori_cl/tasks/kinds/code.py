r"""`code`: a language model completes a program, and the task's tests judge it.

name: humaneval
kind: code
source: {local: humaneval}
prompt: "{{ prompt }}"
answer: "{{ canonical_solution }}"        # the training target
program: "{{ prompt }}{{ completion }}\n{{ test }}\ncheck({{ entry_point }})"
stop: ["\ndef ", "\nclass ", "\nif ", "\nprint("]
temperature: 0.2
samples: 20
pass_at: [1, 5, 10]                       # the first is the score of the task
timeout_s: 10
memory_mb: 512

The generated code runs contained, and only with --allow-code-execution. Its tests run in another process; see
docs/reliability.md. The statements after the completion are the tests.
"""

from __future__ import annotations

from lori_cl.errors import DataError
from lori_cl.spec import CodeSpec
from lori_cl.tasks.examples import COMPLETION
from lori_cl.tasks.kinds.causal import render_nonempty
from lori_cl.tasks.kinds.generative import Generative
from lori_cl.tasks.rows import Row


class Code(Generative):
    """Programs to complete."""

    def check(self, task: CodeSpec, row: Row, where: str) -> str:
        """Render the program with a placeholder; check that it compiles with the reference answer."""
        program = render_nonempty(task.program, {**row, "completion": COMPLETION}, "program", where)
        if program.count(COMPLETION) != 1:
            raise DataError(
                f"{where}: the program contains {program.count(COMPLETION)} placeholders for the completion; "
                "use {{ completion }} exactly once"
            )
        try:
            compile(
                program.replace(COMPLETION, render_nonempty(task.answer, row, "answer", where)),
                "program",
                "exec",
            )
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise DataError(
                f"{where}: the program with the reference answer does not compile: {error}"
            ) from None
        return program

    def check_templates(self, task: CodeSpec) -> tuple[str]:
        """Return the template of the program."""
        return (task.program,)

    def clean_answer(self, text: str) -> str:
        """Remove white space at the end only, because the first line may be indented."""
        return text.rstrip()
