r"""`code`: a causal language model completes a program, and the task's tests judge it.

name: humaneval
kind: code
source: {local: humaneval}
prompt: "{{ prompt }}"
answer: "{{ canonical_solution }}"        # what is learned
program: "{{ prompt }}{{ completion }}\n{{ test }}\ncheck({{ entry_point }})"
stop: ["\ndef ", "\nclass ", "\nif ", "\nprint("]
temperature: 0.2
samples: 20
pass_at: [1, 5, 10]                       # the first is the task's score
timeout_s: 10
memory_mb: 512

What the model writes runs only with --allow-code-execution, contained, and its tests run in another process:
see docs/reliability.md. The statements after the completion are the tests.
"""

from __future__ import annotations

from lori_cl.errors import DataError
from lori_cl.spec import CodeSpec
from lori_cl.tasks.examples import COMPLETION
from lori_cl.tasks.kinds.causal import filled
from lori_cl.tasks.kinds.writing import Writing
from lori_cl.tasks.rows import Row


class Code(Writing):
    """Programs to be completed."""

    def check(self, task: CodeSpec, row: Row, where: str) -> str:
        """The program with a place for the completion; with the row's own answer there it compiles."""
        program = filled(task.program, {**row, "completion": COMPLETION}, "program", where)
        if program.count(COMPLETION) != 1:
            raise DataError(
                f"{where}: the program holds {program.count(COMPLETION)} places for the completion; "
                "write {{ completion }} into it once"
            )
        try:
            compile(program.replace(COMPLETION, filled(task.answer, row, "answer", where)), "program", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise DataError(f"{where}: the program with the row's answer does not compile: {error}") from None
        return program

    def check_templates(self, task: CodeSpec) -> tuple[str]:
        """The program."""
        return (task.program,)

    def tidied(self, text: str) -> str:
        """A completion's first line may be indented."""
        return text.rstrip()
