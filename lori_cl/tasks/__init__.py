"""What a task does: its sources, prompts, kinds and scorers."""

from lori_cl.forgetting.subset import drawn
from lori_cl.tasks.answer_checks import check_answers, check_programs, eval_set_warnings
from lori_cl.tasks.examples import Example, check_whole_characters, examples_digest, from_jsonl, to_jsonl
from lori_cl.tasks.kinds import KINDS, Kind, kind_of
from lori_cl.tasks.kinds.padding import right_padded
from lori_cl.tasks.kinds.pooling import pooled_states
from lori_cl.tasks.materialise import (
    both_splits,
    eval_examples,
    near_duplicates_line,
    read_task,
    require_no_duplicates,
    require_scorable,
    train_examples,
)
from lori_cl.tasks.scorers import SCORERS, Grade, Scorer

__all__ = [
    "KINDS",
    "SCORERS",
    "Example",
    "Grade",
    "Kind",
    "Scorer",
    "both_splits",
    "check_answers",
    "check_programs",
    "check_whole_characters",
    "drawn",
    "eval_examples",
    "eval_set_warnings",
    "examples_digest",
    "from_jsonl",
    "kind_of",
    "near_duplicates_line",
    "pooled_states",
    "read_task",
    "require_no_duplicates",
    "require_scorable",
    "right_padded",
    "to_jsonl",
    "train_examples",
]
