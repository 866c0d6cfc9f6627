"""Tasks: data sources, prompts, kinds and scorers."""

from lori_cl.forgetting.subset import random_subset
from lori_cl.tasks.answer_checks import check_answers, check_programs, eval_set_warnings
from lori_cl.tasks.example_sets import (
    TaskData,
    eval_examples,
    near_duplicates_line,
    read_task,
    require_no_duplicates,
    require_scorable,
    train_examples,
)
from lori_cl.tasks.examples import Example, check_encodable, examples_digest, from_jsonl, to_jsonl
from lori_cl.tasks.kinds import KINDS, Kind, kind_of
from lori_cl.tasks.kinds.padding import right_padded
from lori_cl.tasks.kinds.pooling import pooled_states
from lori_cl.tasks.scorer_source import freeze_scorer
from lori_cl.tasks.scorers import SCORERS, Grade, JudgeUsage, Scorer

__all__ = [
    "KINDS",
    "SCORERS",
    "Example",
    "Grade",
    "JudgeUsage",
    "Kind",
    "Scorer",
    "TaskData",
    "check_answers",
    "check_encodable",
    "check_programs",
    "eval_examples",
    "eval_set_warnings",
    "examples_digest",
    "freeze_scorer",
    "from_jsonl",
    "kind_of",
    "near_duplicates_line",
    "pooled_states",
    "random_subset",
    "read_task",
    "require_no_duplicates",
    "require_scorable",
    "right_padded",
    "to_jsonl",
    "train_examples",
]
