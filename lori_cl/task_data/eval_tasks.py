"""Eval tasks: a task's frozen eval set, as a run scores it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from lori_cl import digest
from lori_cl.adapters import tensors_digest
from lori_cl.errors import ArtifactMissing, InputError
from lori_cl.forgetting.subset import random_subset
from lori_cl.registry import Task, Workspace
from lori_cl.runtime.distributed import on_rank_0
from lori_cl.runtime.environment import compute
from lori_cl.spec import CurriculumSpec, TaskSpec, task_from_record
from lori_cl.tasks import (
    SCORERS,
    Example,
    Scorer,
    check_answers,
    check_programs,
    eval_examples,
    from_jsonl,
    kind_of,
    require_scorable,
    right_padded,
    to_jsonl,
)
from lori_cl.tasks.containment.run import require_containment
from lori_cl.tasks.kinds.base import Architecture
from lori_cl.tasks.kinds.causal import decoder_batch
from lori_cl.tasks.kinds.encoder_decoder import decoder_start
from lori_cl.tasks.scorers.pass_at_k import limits

UNLIMITED = 2**30
"""A length in tokens that no text exceeds."""


@dataclass(frozen=True)
class EvalTask:
    """A task and everything except the model that its score depends on."""

    label: str
    """The task's label."""
    spec: Any
    """Its TaskSpec."""
    examples: Sequence[Example]
    """Its frozen eval set, reduced to the curriculum's limit."""
    eval_set: str
    """The digest of the full eval set."""
    batch_size: int
    max_length: int
    attention: str | None = None
    """`model.attention` of the curriculum; implementations round differently."""
    sample: int | None = None
    """`eval.sample`."""
    cache: Path | None = None
    """The folder in which its scorer caches the replies of a judge."""

    def sampled(self) -> EvalTask:
        """Return the task with a random sample of its examples, see `eval.sample`."""
        return replace(self, examples=random_subset(self.examples, self.sample, self.spec.seed))

    @property
    def scorer(self) -> Scorer:
        """The scorer of its metric."""
        return SCORERS[self.spec.metric].caching_in(self.cache)

    def prompts(self, tokenizer: Any, examples: Sequence[Example]) -> list[list[int]]:
        """Return the prompt tokens of each example."""
        kind = kind_of(self.spec)
        return [kind.prompt_tokens(self.spec, tokenizer, e, self.max_length) for e in examples]

    def prompt_batch(self, tokenizer: Any, examples: Sequence[Example], device: Any) -> dict[str, Tensor]:
        """Return the prompts as keyword arguments of a base model's forward, each (examples, tokens).

        The decoder of an encoder-decoder model reads the reference answers.
        """
        prompts, pad = self.prompts(tokenizer, examples), tokenizer.pad_token_id
        ids, mask = right_padded(prompts, pad, device)
        batch = {"input_ids": ids, "attention_mask": mask}
        if decoder_start(tokenizer):
            kind = kind_of(self.spec)
            features = [kind.features(self.spec, tokenizer, e, UNLIMITED) for e in examples]
            answers = [each.fields["decoder_input_ids"][: self.max_length] for each in features]
            batch |= decoder_batch(answers, pad, device)
        return batch

    def truncated(self, tokenizer: Any, examples: Sequence[Example]) -> int:
        """Return how many of the examples are truncated."""
        return kind_of(self.spec).truncated(self.spec, tokenizer, examples, self.max_length)

    def input_digest(self, base: str, acting: str, head: nn.Module | None, encoding: str) -> str:
        """SHA-256 of everything the score depends on, including the state of the model.

        `encoding` is the digest of the token ids that the model reads.
        """
        rules = SCORERS[self.spec.metric].rules
        reads_once = kind_of(self.spec).samples(self.spec) > 1
        return digest.of_json(
            {
                # Omitted for the first version of the rules and for defaults, so that old digests stay valid.
                **({"rules": rules} if rules > 1 else {}),
                **({"attention": self.attention} if self.attention else {}),
                # Earlier versions read a prompt once per sample, with other last bits.
                **({"prompts": "read once"} if reads_once else {}),
                "base": base,
                "adapter": acting,
                "head": tensors_digest(head.state_dict().items()) if head else None,
                "spec": self.spec.to_record(),
                "eval_set": self.eval_set,
                "encoding": encoding,
                "examples": len(self.examples),
                "batch_size": self.batch_size,
                "max_length": self.max_length,
                "compute": compute(),
            }
        )


def on_samples(
    eval_tasks: Sequence[EvalTask], view: str, stage: int, is_sampled: Callable[[str, int, int], bool]
) -> list[EvalTask]:
    """Return the tasks with the examples on which they are scored in a view after a stage.

    `is_sampled` says whether `eval.sample` applies, by view, stage and the task's own stage.
    """
    return [
        eval_task.sampled() if is_sampled(view, stage, own) else eval_task
        for own, eval_task in enumerate(eval_tasks, start=1)
    ]


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


class Permissions(Protocol):
    """What the user permits tasks to do."""

    @property
    def allow_code_execution(self) -> bool:
        """Whether model-written programs may run, contained."""

    @property
    def trust_tasks(self) -> bool:
        """Whether the scorer functions of the tasks may run, without containment, and judges get answers."""


def check_permissions(tasks: Sequence[Task], permitted: Permissions) -> None:
    """Check that the user permits what scoring the tasks needs, and that programs can be contained.

    Raises: InputError: a task runs model-written programs or its own scorer function, and this is not
    permitted; DataError: a task sets higher limits than are allowed; ContainmentMissing.
    """
    _check_trust(tasks, permitted)
    runs_code = [task.label for task in tasks if SCORERS[task.metric].runs_code]
    if runs_code and not permitted.allow_code_execution:
        raise InputError(
            f"task '{runs_code[0]}' is scored by running model-written programs, in containment; "
            "use --allow-code-execution to allow it"
        )
    for task in tasks:
        if task.kind == "code":
            limits(task_from_record(task.spec))
    if runs_code:
        require_containment()


def _check_trust(tasks: Sequence[Task], permitted: Permissions) -> None:
    for task in tasks:
        spec: Any = task_from_record(task.spec)
        reason = SCORERS[spec.metric].trust_reason(spec)  # not task.metric: scoring uses the declaration
        if reason is not None and not permitted.trust_tasks:
            raise InputError(
                f"task '{task.label}' is {reason}; if you trust the task, use --trust-tasks to allow it"
            )


def prepare_eval_task(
    workspace: Workspace,
    task: Task,
    curriculum: CurriculumSpec,
    context: int,
    *,
    encoder_decoder: bool = False,
) -> EvalTask:
    """Return the task's frozen eval set, reduced to the curriculum's limit.

    `context` is the base model's context length in tokens. Set `encoder_decoder` if its encoder and its
    decoder read so many each.
    Raises: DataError, if the base model cannot do the task; ArtifactMissing, if the eval set's file is
    missing and the source no longer gives the same examples; ArtifactDamaged.
    """
    spec = task_from_record(task.spec)
    examples = random_subset(
        from_jsonl(eval_set_file(workspace, task, spec)), curriculum.eval.limit, task.seed
    )
    kind, max_length = kind_of(spec), max_length_of(curriculum, context)
    prompt_length = kind.encoder_length if encoder_decoder else kind.prompt_length
    return EvalTask(
        label=task.label,
        spec=spec,
        examples=examples,
        eval_set=task.eval_set.digest,
        batch_size=curriculum.eval.batch_size,
        max_length=prompt_length(spec, max_length, context),
        attention=curriculum.model.attention,
        sample=curriculum.eval.sample,
        cache=workspace.judge_cache if spec.judge is not None else None,
    )


def check_eval_task(eval_task: EvalTask, tokenizer: Any) -> list[str]:
    """Check that a task's metric can score its eval set and accepts the reference answers; return warnings.

    The reference programs of a code task are run in containment.
    Raises: DataError, with the reason why the scores would be meaningless.
    """
    require_scorable(eval_task.spec, eval_task.examples)
    warnings = check_answers(eval_task.spec, eval_task.examples, tokenizer)
    runs_code = eval_task.scorer.runs_code
    return [*warnings, *(check_programs(eval_task.spec, eval_task.examples) if runs_code else [])]


def check_scorer(eval_task: EvalTask) -> list[str]:
    """Check that a permitted scorer function or judge works; return warnings. Nothing is cached.

    Raises: ScoringFailed; InputError: the API key of a judge is not set.
    """
    scorer = SCORERS[eval_task.spec.metric]
    if scorer.trust_reason(eval_task.spec) is None:
        return []
    return on_rank_0(lambda: scorer.check_before_run(eval_task.spec, eval_task.examples))


def max_length_of(curriculum: CurriculumSpec, context: int) -> int:
    """Return the maximum tokens of an example, for a base model with this context length."""
    return min(curriculum.train.max_length, context)


def eval_set_file(workspace: Workspace, task: Task, spec: TaskSpec) -> bytes:
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
