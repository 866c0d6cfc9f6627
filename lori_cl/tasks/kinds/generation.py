r"""`generation`: a language model generates an answer, which is compared with the reference answer.

name: gsm8k
kind: generation
source: {local: gsm8k}
prompt: "Question: {{ question }}\nAnswer:"
answer: " {{ answer }}"
max_new_tokens: 256
stop: ["Question:"]
answers: golds                            # if a row has several reference answers: see below
metric: numeric_match                     # or exact_match, json_match, regex_match, f1, …
temperature: 0.0                          # above 0: sampling, with a seed per example
samples: 1                                # number of answers; the outcome is their mean

With `answers`, a row has a list of reference answers, and the best match counts. `answers` is a column that
holds a list (`golds`, or `answers.text` for a list in a column that holds a table), an expression that gives
a list ("{{ answer.aliases }}"), or a list of templates. The task trains on `answer`; if it is omitted, on the
first answer of the list.

With `format: messages` or `format: sharegpt`, a row is a conversation: `lori_cl/tasks/conversations.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lori_cl.errors import DataError
from lori_cl.spec import GenerationSpec
from lori_cl.spec.data_formats import CONVERSATION_COLUMNS
from lori_cl.spec.error_messages import shown
from lori_cl.spec.kinds import GradedAnswer
from lori_cl.tasks.conversations import assistant_turns, conversation_example, prompt_example, prompt_row
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.causal import render_nonempty
from lori_cl.tasks.kinds.generative import Generative
from lori_cl.tasks.prompts import columns_read, is_template, render_list
from lori_cl.tasks.rows import Row, Rows
from lori_cl.tasks.scorers.regex_match import pattern_problem


class Generation(Generative):
    """Prompts with one or more reference answers each, or conversations."""

    def examples(self, task: GenerationSpec, rows: Rows) -> list[Example]:
        """Render every row; the answer to a conversation is its last assistant turn."""
        data_format = task.conversation
        if data_format is None:
            return super().examples(task, rows)
        return rows.valid(
            lambda index, row, where: conversation_example(data_format, index, row, where, chat=task.chat)
        )

    def training_examples(self, task: GenerationSpec, rows: Rows) -> list[Example]:
        """Render every row; every assistant turn of a conversation is the answer of an example."""
        if task.conversation is None:
            return super().training_examples(task, rows)
        return [
            turn for example in self.examples(task, rows) for turn in assistant_turns(example, chat=task.chat)
        ]

    def input_example(self, task: GenerationSpec, row: Row, where: str) -> Example:
        """Return an example with the prompt only."""
        if task.conversation is None:
            return super().input_example(task, row, where)
        return prompt_example(task.conversation, row, where)

    def text_column(self, task: GenerationSpec) -> str | None:
        """Return the column of the conversation, or the only column that the prompt reads."""
        if task.conversation is None:
            return super().text_column(task)
        return CONVERSATION_COLUMNS[task.conversation]

    def input_row(self, task: GenerationSpec) -> dict[str, Any]:
        """Return a row with a conversation, or with the columns of the prompt."""
        return super().input_row(task) if task.conversation is None else prompt_row(task.conversation)

    def columns(self, task: GenerationSpec, *, training: bool = False) -> set[str]:
        """Return the column of the conversation, or those of the prompt and the answers."""
        if task.conversation is None:
            return super().columns(task, training=training)
        return {CONVERSATION_COLUMNS[task.conversation]}

    def check_templates(self, task: GenerationSpec) -> tuple[str, ...]:
        """Return the template of the pattern, if there is one."""
        return (task.pattern,) if task.pattern else ()

    def check(self, task: GenerationSpec, row: Row, where: str) -> str:
        """Return the pattern; empty if answers are compared with the reference answers."""
        if not task.pattern:
            return ""
        pattern = render_nonempty(task.pattern, row, "pattern", where)
        if (problem := pattern_problem(pattern)) is not None:
            raise DataError(f"{where}: the pattern {shown(pattern)} {problem}")
        return pattern

    def answers_of(self, task: GenerationSpec, row: Row, where: str) -> list[str]:
        """Return the training target, then the other reference answers."""
        return list(_graded_answers(task, row, where))

    def grades_of(self, task: GenerationSpec, row: Row, where: str) -> list[float]:
        """Return the grade of each answer; empty if all have full marks."""
        if task.answers is None:
            return []
        grades = list(_graded_answers(task, row, where).values())
        if grades[0] < 1:
            raise DataError(
                f"{where}: the first answer is the training target, but its grade is {grades[0]:g}; put an "
                "answer with grade 1 first, or set 'answer'"
            )
        return grades if min(grades) < 1 else []

    def answer_columns(self, task: GenerationSpec) -> set[str]:
        """Return the columns of `answer` and `answers`."""
        match task.answers:
            case None:
                return columns_read(task.answer)
            case str() as path if not is_template(path):
                return {*columns_read(task.answer), path.partition(".")[0]}
            case str() as template:
                return columns_read(task.answer, template)
            case templates:
                return columns_read(task.answer, *(_template(each) for each in templates))


def _graded_answers(task: GenerationSpec, row: Row, where: str) -> dict[str, float]:
    """Return the grade of each answer, the training target first; the higher grade of equal texts."""
    graded = {render_nonempty(task.answer, row, "answer", where): 1.0} if task.answer else {}
    for text, grade in _listed_answers(task, row, where):
        graded[text] = max(grade, graded.get(text, 0.0))
    return graded


def _listed_answers(task: GenerationSpec, row: Row, where: str) -> list[tuple[str, float]]:
    """Return the reference answers that `answers` gives for a row, with their grades.

    Raises: DataError, if it is not a list, is empty, or contains something that is not an answer.
    """
    if task.answers is None:
        return []
    if not isinstance(task.answers, str):
        return [
            (render_nonempty(_template(each), row, "answers", where), _declared_grade(each))
            for each in task.answers
        ]
    if is_template(task.answers):
        found = render_list(task.answers, row, "answers", where)
    else:
        found = _column(task.answers, row, where)
    if not found:
        raise DataError(f"{where}: answers is an empty list; each row needs at least one answer")
    return [_answer_of_row(answer, where) for answer in found]


def _template(answer: GradedAnswer | str) -> str:
    return answer if isinstance(answer, str) else answer.text


def _declared_grade(answer: GradedAnswer | str) -> float:
    return 1.0 if isinstance(answer, str) else answer.grade


def _answer_of_row(value: Any, where: str) -> tuple[str, float]:
    """Return the text and the grade of a text, a number, or a table with `text` and `grade`."""
    graded = isinstance(value, Mapping) and value.keys() == {"text", "grade"}
    text, grade = (value["text"], value["grade"]) if graded else (value, 1)
    if isinstance(text, bool) or not isinstance(text, str | int | float) or not str(text).strip():
        raise DataError(
            f"{where}: answers contains {shown(value)}; each answer must be text, a number, or a table with "
            "'text' and 'grade'"
        )
    if isinstance(grade, bool) or not isinstance(grade, int | float) or not 0 < grade <= 1:
        raise DataError(
            f"{where}: answers contains the grade {shown(grade)}; a grade is a number above 0 and at most 1"
        )
    return str(text), float(grade)


def _column(path: str, row: Row, where: str) -> list[Any]:
    column, _, key = path.partition(".")
    if column not in row:
        raise DataError(f"{where}: answers: unknown column '{column}'")
    value = row[column]
    value = value.get(key) if key and isinstance(value, Mapping) else value
    if not isinstance(value, list | tuple):
        raise DataError(f"{where}: column '{path}' contains {shown(value)}, not a list of answers")
    return list(value)
