"""`lm-eval`: a task of lm-evaluation-harness, such as hellaswag. It is scored and never trained.

name: hellaswag
kind: lm-eval
task: hellaswag
score: acc_norm
eval: {limit: 500}

lm-evaluation-harness reads the data, writes the prompts, asks the model and grades the answers. `add-task`
records the documents, so that a changed data set is found. An answer is JSON with the score of the example
and the responses. $LORI_CL_LM_EVAL_TASKS may name a folder with definitions of your own.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from typing import Any

from lori_cl.errors import DataError, ScoringFailed
from lori_cl.spec.lm_eval import LMEvalSpec
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.base import Features
from lori_cl.tasks.kinds.causal import CausalKind
from lori_cl.tasks.lm_eval_harness import document, harness, harness_version
from lori_cl.tasks.rows import Row, Rows


class LMEval(CausalKind):
    """A task of lm-evaluation-harness."""

    answers_together = True

    def frozen(self, task: LMEvalSpec) -> LMEvalSpec:
        """Record the version of lm-evaluation-harness, which decides the prompts and the grades."""
        return task.model_copy(update={"harness_version": harness_version()})

    def own_rows(self, task: LMEvalSpec) -> Rows:
        """Return the documents that lm-evaluation-harness evaluates."""
        rows = [
            {"text": text, "target": target, "doc": doc} for text, target, doc in harness(task).documents()
        ]
        return Rows(rows, ["text", "target", "doc"], f"lm-eval task {task.task}")

    def examples(self, task: LMEvalSpec, rows: Rows) -> list[Example]:
        """Return the prompt, the target and the document of every row."""

        def example_of(index: int, row: Row, where: str) -> Example:
            if not row["text"].strip():
                raise DataError(f"{where}: the prompt is empty")
            return Example(index, row["text"], row["target"], row=row["doc"])

        return rows.valid(example_of)

    def input_example(self, task: LMEvalSpec, row: Row, where: str) -> Example:
        """Raises: DataError: lm-evaluation-harness writes the prompts."""
        raise DataError(f"task '{task.name}' is of kind lm-eval, which cannot predict")

    def text_column(self, task: LMEvalSpec) -> str | None:
        """Return None: the columns are not known."""
        return None

    def input_row(self, task: LMEvalSpec) -> dict[str, Any]:
        """Return no columns."""
        return {}

    def features(self, task: LMEvalSpec, tokenizer: Any, example: Example, max_length: int) -> Features:
        """Raises: DataError: such a task is never trained."""
        raise DataError(f"task '{task.name}' is of kind lm-eval, which cannot be trained")

    def prompt_tokens(self, task: LMEvalSpec, tokenizer: Any, example: Example, max_length: int) -> list[int]:
        """Return the tokens of the prompt, for the digest of what the model reads."""
        ids: list[int] = tokenizer(example.text)["input_ids"]
        return ids

    def truncated(
        self, task: LMEvalSpec, tokenizer: Any, examples: Sequence[Example], max_length: int
    ) -> int:
        """Return 0: lm-evaluation-harness truncates by rules of its own."""
        return 0

    def decoding(self, task: LMEvalSpec) -> Hashable | None:
        """Return None: it is never answered together with other tasks."""
        return None

    def answers(
        self,
        task: LMEvalSpec,
        learner: Any,
        tokenizer: Any,
        examples: Sequence[Example],
        max_length: int,
        sample: int = 0,
    ) -> list[str]:
        """Return the score and the responses of each example as JSON.

        Raises: ScoringFailed: the data changed since the task was added, or a score is missing.
        """
        found = harness(task).evaluate(learner, tokenizer, [example.id for example in examples])
        return [_answer(task, found, example) for example in examples]


def _answer(task: LMEvalSpec, found: dict[int, dict[str, Any]], example: Example) -> str:
    where = f"task '{task.name}', row {example.id + 1}"
    sample = found.get(example.id)
    if sample is None or document(sample["doc"]) != example.row:
        raise ScoringFailed(f"{where}: its data changed since the task was added; add it again")
    if task.score not in sample:
        known = sorted(k for k, v in sample.items() if isinstance(v, int | float) and k != "doc_id")
        raise ScoringFailed(f"{where}: no metric '{task.score}'. Available: {', '.join(known)}.")
    responses = [str(each) for each in sample["filtered_resps"]]
    return json.dumps({"score": float(sample[task.score]), "responses": responses}, ensure_ascii=False)
