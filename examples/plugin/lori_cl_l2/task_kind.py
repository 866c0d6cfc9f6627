"""A task kind: the answer is yes or no, whichever a causal language model finds more likely after a prompt.

name: boolq
kind: yes_no
source: {local: boolq}
prompt: "{{ passage }} Question: {{ question }}? Answer:"
answer: "{{ answer }}"                    # true or false, yes or no, 1 or 0
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from lori_cl.errors import DataError
from lori_cl.spec import OR_PLUGIN_SCORER, ChatTaskSpec
from lori_cl.tasks import Example
from lori_cl.tasks.kinds.causal import render_nonempty
from lori_cl.tasks.kinds.label_likelihood import LabelLikelihood
from lori_cl.tasks.prompts import columns_read
from lori_cl.tasks.rows import Row, Rows

LABEL_OF = {"true": "yes", "yes": "yes", "1": "yes", "false": "no", "no": "no", "0": "no"}


class YesNoSpec(ChatTaskSpec):
    """The fields of a task file. The class variables are what `LabelLikelihood` reads besides the prompt."""

    kind: Literal["yes_no"]
    prompt: str
    answer: str
    metric: Annotated[Literal["accuracy", "f1_macro"], OR_PLUGIN_SCORER] = "accuracy"

    labels: ClassVar = ("yes", "no")
    words: ClassVar = (" yes", " no")
    normalise: ClassVar = "none"


class YesNo(LabelLikelihood):
    """Reads the answer from a template; everything else is inherited."""

    spec = YesNoSpec

    def columns(self, task: Any, *, training: bool = False) -> set[str]:
        """Return the columns of the prompt and the answer."""
        return columns_read(task.prompt, task.answer)

    def examples(self, task: Any, rows: Rows) -> list[Example]:
        """Render the prompt and the answer of every row."""

        def example_of(index: int, row: Row, where: str) -> Example:
            answer = render_nonempty(task.answer, row, "answer", where).strip().lower()
            if answer not in LABEL_OF:
                raise DataError(f"{where}: the answer '{answer}' is none of {', '.join(LABEL_OF)}")
            return Example(index, render_nonempty(task.prompt, row, "prompt", where), LABEL_OF[answer])

        return rows.valid(example_of)

    def check_numbering(self, task: Any, splits: Sequence[Rows]) -> None:
        """Accept every split: 1 is yes and 0 is no."""


YES_NO = YesNo()
