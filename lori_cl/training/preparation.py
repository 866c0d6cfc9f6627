"""What a run needs before its first step: eval sets, training examples, and all of it valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lori_cl.errors import ArtifactMissing, InputError
from lori_cl.registry import Task, Workspace
from lori_cl.spec import CurriculumSpec, TaskSpec, task_from_record
from lori_cl.tasks import (
    SCORERS,
    Example,
    check_answers,
    check_programs,
    drawn,
    eval_examples,
    examples_digest,
    from_jsonl,
    kind_of,
    near_duplicates_line,
    require_no_duplicates,
    require_scorable,
    to_jsonl,
    train_examples,
)
from lori_cl.tasks.containment import require_containment
from lori_cl.tasks.kinds import Architecture
from lori_cl.tasks.scorers.pass_at_k import limits
from lori_cl.training.base_model import BaseModel
from lori_cl.training.determinism import derive_seed
from lori_cl.training.encoding import features_digest
from lori_cl.training.evaluate import Question


@dataclass(frozen=True)
class TrainingSet:
    """A task's training examples as token ids."""

    fields: Sequence[dict[str, Any]]
    digest: str
    """SHA-256 of the examples."""
    encoding: str
    """SHA-256 of their token ids."""
    n_truncated: int
    examples: Sequence[Example]
    source: Sequence[Example]
    """All of the task's training examples, before train.limit."""


def architecture_of(tasks: Sequence[Task]) -> Architecture:
    """The one kind of base model that all tasks need.

    Raises: InputError, if they need different ones.
    """
    needs = {task.label: kind_of(task_from_record(task.spec)).architecture for task in tasks}
    first, needed = next(iter(needs.items()))
    for label, other in needs.items():
        if other != needed:
            raise InputError(
                f"task '{first}' needs a base model of type {needed} and task '{label}' one of type {other}; "
                "a curriculum has one base model: split it in two"
            )
    return needed


def check_code_execution(tasks: Sequence[Task], allowed: bool) -> None:
    """Make sure that what scoring these tasks would run may run, and can be contained.

    Raises: InputError: a task would run what the model writes, and that is not allowed; DataError: a task
    asks for higher limits than are allowed; ContainmentMissing.
    """
    runs_code = [task.label for task in tasks if SCORERS[task.metric].runs_code]
    if runs_code and not allowed:
        raise InputError(
            f"task '{runs_code[0]}' is scored by running the programs that the model writes; "
            "they run contained, and only with --allow-code-execution"
        )
    for task in tasks:
        if task.kind == "code":
            limits(task_from_record(task.spec))
    if runs_code:
        require_containment()


def prepare_question(workspace: Workspace, task: Task, curriculum: CurriculumSpec, context: int) -> Question:
    """The task's frozen eval set, cut to the curriculum's limit; the base model reads `context` tokens.

    Raises: DataError, if the base model cannot do the task;
    ArtifactMissing, if the eval set's file is gone and the source no longer gives the same examples;
    ArtifactDamaged.
    """
    spec = task_from_record(task.spec)
    examples = drawn(from_jsonl(_eval_set(workspace, task, spec)), curriculum.eval.limit, task.seed)
    return Question(
        label=task.label,
        spec=spec,
        examples=examples,
        eval_set=task.eval_set.digest,
        batch_size=curriculum.eval.batch_size,
        max_length=kind_of(spec).prompt_length(spec, _max_length(curriculum, context), context),
    )


def check_question(question: Question, tokenizer: Any) -> list[str]:
    """Make sure that a task's metric can score its eval set, and that the wanted answers can win: warnings.

    Programs that the task is scored by are run, contained.
    Raises: DataError, saying why the scores would mean nothing.
    """
    require_scorable(question.spec, question.examples)
    warnings = check_answers(question.spec, question.examples, tokenizer)
    runs_code = SCORERS[question.spec.metric].runs_code
    return [*warnings, *(check_programs(question.spec, question.examples) if runs_code else [])]


def prepare_training(
    workspace: Workspace, task: Task, curriculum: CurriculumSpec, base: BaseModel
) -> TrainingSet:
    """Read, check and tokenise what the task learns from.

    Raises: DataError, if the source is missing, empty or holds an example the task does not allow.
    """
    spec = task_from_record(task.spec)
    kind = kind_of(spec)
    source = train_examples(spec, workspace.folder_of(task.declared_in))
    seed = derive_seed(curriculum.seed, task.label, task.seed, "data")
    examples = drawn(source, curriculum.train.limit, seed)
    max_length = _max_length(curriculum, base.context)
    features = [kind.features(spec, base.tokenizer, example, max_length) for example in examples]
    fields = [feature.fields for feature in features]
    return TrainingSet(
        fields=fields,
        digest=examples_digest(examples),
        encoding=features_digest(fields),
        n_truncated=sum(feature.truncated for feature in features),
        examples=examples,
        source=source,
    )


def check_training(workspace: Workspace, task: Task, training_set: TrainingSet) -> str | None:
    """Make sure that no example of the frozen eval set is trained on; how many are nearly, in one line.

    Raises: DataError, as `require_no_duplicates` says.
    """
    spec = task_from_record(task.spec)
    held_out = from_jsonl(_eval_set(workspace, task, spec))
    require_no_duplicates(spec, training_set.examples, held_out)
    return near_duplicates_line(spec, training_set.examples, held_out)


def _max_length(curriculum: CurriculumSpec, context: int) -> int:
    return min(curriculum.train.max_length, context)


def _eval_set(workspace: Workspace, task: Task, spec: TaskSpec) -> bytes:
    """The eval set's file; made again from the source where it is gone, if that gives the same examples."""
    wanted = task.eval_set.digest
    try:
        return workspace.artifacts.get(wanted, "jsonl")
    except ArtifactMissing:
        pass
    content = to_jsonl(eval_examples(spec, workspace.folder_of(task.declared_in)))
    if workspace.artifacts.put(content, "jsonl") != wanted:
        raise ArtifactMissing(
            f"the eval set of '{task.label}' ({wanted[:16]}…) is not in {workspace.artifacts.folder}, "
            "and its source gives other examples now; restore the file from a backup, or add the task "
            "again: it becomes a new version"
        )
    return content
