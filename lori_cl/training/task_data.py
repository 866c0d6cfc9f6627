"""Prepare and check the eval sets and training examples of a run."""

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
    eval_examples,
    examples_digest,
    from_jsonl,
    kind_of,
    near_duplicates_line,
    random_subset,
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
from lori_cl.training.eval_task import EvalTask


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
    """All training examples of the task, before `train.limit`."""


def architecture_of(tasks: Sequence[Task]) -> Architecture:
    """Return the type of base model that all tasks need.

    Raises: InputError, if the tasks need different types.
    """
    needs = {task.label: kind_of(task_from_record(task.spec)).architecture for task in tasks}
    first, needed = next(iter(needs.items()))
    for label, other in needs.items():
        if other != needed:
            raise InputError(
                f"task '{first}' needs a base model of type {needed} and task '{label}' one of type {other}; "
                "a curriculum has one base model: split the curriculum in two"
            )
    return needed


def check_code_execution(tasks: Sequence[Task], allowed: bool) -> None:
    """Check that model-written programs may run and can be contained, if scoring the tasks needs it.

    Raises: InputError: a task runs model-written programs and this is not allowed; DataError: a task sets
    higher limits than are allowed; ContainmentMissing.
    """
    runs_code = [task.label for task in tasks if SCORERS[task.metric].runs_code]
    if runs_code and not allowed:
        raise InputError(
            f"task '{runs_code[0]}' is scored by running model-written programs, in containment; "
            "use --allow-code-execution to allow it"
        )
    for task in tasks:
        if task.kind == "code":
            limits(task_from_record(task.spec))
    if runs_code:
        require_containment()


def prepare_eval_task(workspace: Workspace, task: Task, curriculum: CurriculumSpec, context: int) -> EvalTask:
    """Return the task's frozen eval set, reduced to the curriculum's limit.

    `context` is the base model's context length in tokens.
    Raises: DataError, if the base model cannot do the task; ArtifactMissing, if the eval set's file is
    missing and the source no longer gives the same examples; ArtifactDamaged.
    """
    spec = task_from_record(task.spec)
    examples = random_subset(from_jsonl(_eval_set(workspace, task, spec)), curriculum.eval.limit, task.seed)
    return EvalTask(
        label=task.label,
        spec=spec,
        examples=examples,
        eval_set=task.eval_set.digest,
        batch_size=curriculum.eval.batch_size,
        max_length=kind_of(spec).prompt_length(spec, _max_length(curriculum, context), context),
    )


def check_eval_task(eval_task: EvalTask, tokenizer: Any) -> list[str]:
    """Check that a task's metric can score its eval set and accepts the reference answers; return warnings.

    The reference programs of a code task are run in containment.
    Raises: DataError, with the reason why the scores would be meaningless.
    """
    require_scorable(eval_task.spec, eval_task.examples)
    warnings = check_answers(eval_task.spec, eval_task.examples, tokenizer)
    runs_code = SCORERS[eval_task.spec.metric].runs_code
    return [*warnings, *(check_programs(eval_task.spec, eval_task.examples) if runs_code else [])]


def prepare_training(
    workspace: Workspace, task: Task, curriculum: CurriculumSpec, base: BaseModel
) -> TrainingSet:
    """Read, check and tokenise a task's training examples.

    Raises: DataError, if the source is missing, empty or contains an invalid example.
    """
    spec = task_from_record(task.spec)
    kind = kind_of(spec)
    source = train_examples(spec, workspace.source_folder(task))
    seed = derive_seed(curriculum.seed, task.label, task.seed, "data")
    examples = random_subset(source, curriculum.train.limit, seed)
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
    """Check that no training example is in the frozen eval set; return a line about near duplicates.

    Raises: DataError, see `require_no_duplicates`.
    """
    spec = task_from_record(task.spec)
    held_out = from_jsonl(_eval_set(workspace, task, spec))
    require_no_duplicates(spec, training_set.examples, held_out)
    return near_duplicates_line(spec, training_set.examples, held_out)


def _max_length(curriculum: CurriculumSpec, context: int) -> int:
    return min(curriculum.train.max_length, context)


def _eval_set(workspace: Workspace, task: Task, spec: TaskSpec) -> bytes:
    """Return the eval set's file; recreate a missing file if the source still gives the same examples."""
    wanted = task.eval_set.digest
    try:
        return workspace.artifacts.get(wanted, "jsonl")
    except ArtifactMissing:
        pass
    content = to_jsonl(eval_examples(spec, workspace.source_folder(task)))
    if workspace.artifacts.put(content, "jsonl") != wanted:
        raise ArtifactMissing(
            f"the eval set of '{task.label}' ({wanted[:16]}…) is not in {workspace.artifacts.folder}, "
            "and its source now gives other examples; restore the file from a backup, or add the task "
            "again as a new version"
        )
    return content
