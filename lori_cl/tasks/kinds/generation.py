r"""`generation`: a causal language model writes an answer that is compared with the wanted one.

name: gsm8k
kind: generation
source: {local: gsm8k}
prompt: "Question: {{ question }}\nAnswer:"
answer: " {{ answer }}"
max_new_tokens: 256
stop: ["Question:"]
answers: golds                            # where a row has several right answers: see below
metric: numeric_match                     # exact_match, numeric_match, f1, rouge_l, …
temperature: 0.0                          # above 0 it samples, seeded for every example on its own
samples: 1                                # the outcome is the mean over so many

With `answers` a row has a list of right answers, and an answer is worth what it is worth against the best of
them. It is a column that holds a list (`golds`; `answers.text` of a column that holds a table), an expression
that gives one ("{{ answer.aliases }}"), or a list of templates. What is learned is `answer`; where that is
left out, the first of the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lori_cl.errors import DataError
from lori_cl.spec import GenerationSpec
from lori_cl.spec.complaints import shown
from lori_cl.tasks.kinds.causal import filled
from lori_cl.tasks.kinds.writing import Writing
from lori_cl.tasks.prompts import columns_read, is_template, listed
from lori_cl.tasks.rows import Row


class Generation(Writing):
    """Prompts with one wanted answer each."""

    def check(self, task: GenerationSpec, row: Row, where: str) -> str:
        """An answer is compared with the right ones."""
        return ""

    def answers_of(self, task: GenerationSpec, row: Row, where: str) -> list[str]:
        """The answer that is learned, then the others."""
        learned = [filled(task.answer, row, "answer", where)] if task.answer else []
        return list(dict.fromkeys([*learned, *_listed_answers(task, row, where)]))

    def answer_columns(self, task: GenerationSpec) -> set[str]:
        """Those of `answer` and of `answers`."""
        match task.answers:
            case None:
                return columns_read(task.answer)
            case str() as path if not is_template(path):
                return {*columns_read(task.answer), path.partition(".")[0]}
            case str() as template:
                return columns_read(task.answer, template)
            case templates:
                return columns_read(task.answer, *templates)


def _listed_answers(task: GenerationSpec, row: Row, where: str) -> list[str]:
    """What `answers` gives for a row.

    Raises: DataError, if it is no list, is empty, or holds something that is no text and no number.
    """
    if task.answers is None:
        return []
    if not isinstance(task.answers, str):
        return [filled(template, row, "answers", where) for template in task.answers]
    if is_template(task.answers):
        found = listed(task.answers, row, "answers", where)
    else:
        found = _column(task.answers, row, where)
    for answer in found:
        if isinstance(answer, bool) or not isinstance(answer, str | int | float) or not str(answer).strip():
            raise DataError(f"{where}: answers hold {shown(answer)}; each must be a text or a number")
    if not found:
        raise DataError(f"{where}: answers is an empty list; each row needs one or more")
    return [str(answer) for answer in found]


def _column(path: str, row: Row, where: str) -> list[Any]:
    column, _, key = path.partition(".")
    if column not in row:
        raise DataError(f"{where}: answers name '{column}', which is no column")
    value = row[column]
    value = value.get(key) if key and isinstance(value, Mapping) else value
    if not isinstance(value, list | tuple):
        raise DataError(f"{where}: column '{path}' holds {shown(value)}, not a list of answers")
    return list(value)
