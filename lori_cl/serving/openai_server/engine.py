"""Answer prompts of several tasks in shared batches; used by one thread only."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from lori_cl.errors import DataError, InputError, LoriError
from lori_cl.evaluation import LoadedRun
from lori_cl.models.base_model import BaseModel
from lori_cl.routing import Router
from lori_cl.serving.openai_server.answer_text import AnswerText
from lori_cl.serving.openai_server.api_error import ApiError
from lori_cl.serving.openai_server.events import Decoding, Failed, Finished, NewText, Prompt, Started
from lori_cl.serving.openai_server.inputs import read_input
from lori_cl.serving.predict import Job, Prediction, Predictor
from lori_cl.serving.requests import route_readings
from lori_cl.serving.route import load_router
from lori_cl.spec import GenerativeSpec
from lori_cl.task_data.eval_tasks import UNLIMITED
from lori_cl.tasks import Example, kind_of
from lori_cl.tasks.kinds.decoding import end_token_ids
from lori_cl.tasks.kinds.generative import Generative

log = logging.getLogger(__name__)

AUTO = "auto"
"""The model name that predicts the task of each prompt."""


class Engine:
    """A run's model with the as_trained adapters of all its tasks."""

    def __init__(self, loaded: LoadedRun, max_tokens: int) -> None:
        self.loaded = loaded
        self.tasks = tuple(state.task for state in loaded.history)
        self.max_tokens = max_tokens
        self.router, self.why_no_router = _router(loaded)
        self._specs = {each.label: each.spec for each in loaded.eval_tasks}
        self.predictor = Predictor(loaded)
        for task in self.tasks:
            self.predictor.load_adapter(task)

    def answer(self, prompts: Sequence[Prompt]) -> None:
        """Answer the prompts, and emit their events."""
        waiting = [prompt for prompt in prompts if not prompt.cancelled.is_set()]
        jobs: list[tuple[Prompt, Job]] = []
        for prompt, readings in self._readings(waiting):
            try:
                jobs.append((prompt, self._begin(prompt, *readings)))
            except Exception as error:  # of a plugin's kind, too: the other prompts are answered
                _fail([prompt], error)
        for positions in self.predictor.batches([job for _, job in jobs]):
            self._answer_batch([jobs[i] for i in positions])

    def _readings(self, prompts: Sequence[Prompt]) -> Iterable[tuple[Prompt, tuple[str, Example]]]:
        """Return each prompt with its task and its example; those that cannot be read fail."""
        found: dict[int, tuple[str, Example]] = {}
        routed: dict[int, dict[str, Example]] = {}
        for number, prompt in enumerate(prompts):
            try:
                if prompt.model in self.tasks:
                    example = read_input(self._specs[prompt.model], prompt.model, prompt.given)
                    found[number] = prompt.model, example
                else:
                    routed[number] = self._candidates(prompt)
            except Exception as error:
                _fail([prompt], error)
        try:
            if routed and self.router is not None:
                tasks = route_readings(self.loaded, self.router, list(routed.values()))
                found |= {n: (task, routed[n][task]) for n, task in zip(routed, tasks, strict=True)}
        except Exception as error:
            _fail([prompts[n] for n in routed], error)
        return [(prompts[n], found[n]) for n in sorted(found)]

    def _candidates(self, prompt: Prompt) -> dict[str, Example]:
        """Return the prompt as an example of each task that can read it.

        Raises: DataError, if there is none.
        """
        assert self.router is not None, "a model name is checked before a prompt waits"
        found, failures = {}, []
        for task in self.router.tasks:
            try:
                found[task] = read_input(self._specs[task], task, prompt.given)
            except DataError as error:
                failures.append(error)
        if not found:
            raise DataError(f"no task can read the input: {failures[0]}")
        return found

    def _begin(self, prompt: Prompt, task: str, example: Example) -> Job:
        """Return the prompt as a job, and emit that it began.

        Raises: ApiError, if it is too long; DataError.
        """
        job = decoding_job(
            self.loaded.base, task, self._specs[task], example, prompt.decoding, self.max_tokens
        )
        kind, tokenizer = kind_of(job.spec), self.loaded.base.tokenizer
        n_tokens = len(kind.prompt_tokens(job.spec, tokenizer, example, UNLIMITED))
        if kind.truncated(job.spec, tokenizer, [example], job.max_length):
            context = self.loaded.base.context
            raise ApiError(
                400,
                f"the prompt has {n_tokens:,} tokens, but the model's context has {context:,} "
                f"with the answer of task '{task}'; send a shorter prompt, or lower max_tokens",
                code="context_length_exceeded",
            )
        prompt.emit(Started(task, n_tokens))
        return job

    def _answer_batch(self, batch: Sequence[tuple[Prompt, Job]]) -> None:
        prompts, jobs = [prompt for prompt, _ in batch], [job for _, job in batch]
        try:
            watch = _Watch(self.loaded, batch)
            predictions = self.predictor.answer_batch(jobs, watch.on_step)
            for number, prediction in enumerate(predictions):
                prompts[number].emit(self._finished(prediction, watch.texts[number]))
        except Exception as error:  # the worker answers the next prompts
            _fail(prompts, error)

    def _finished(self, prediction: Prediction, text: AnswerText | None) -> Finished:
        if text is not None:
            answer = prediction.answer
            return Finished(answer, text.finish(answer), text.finish_reason, text.n_tokens)
        answer = prediction.answer.strip()  # a choice has its delimiter before it
        ids = self.loaded.base.tokenizer(answer, add_special_tokens=False)["input_ids"]
        return Finished(answer, answer, "stop", len(ids), prediction.scores)


class _Watch:
    """The answers of one batch while they are generated."""

    def __init__(self, loaded: LoadedRun, batch: Sequence[tuple[Prompt, Job]]) -> None:
        self._prompts = [prompt for prompt, _ in batch]
        self.texts = [_answer_text(loaded, job) for _, job in batch]

    def on_step(self, written: Sequence[Sequence[int]]) -> list[bool]:
        """Emit the new text of each streamed answer; return which prompts are cancelled."""
        for prompt, text, tokens in zip(self._prompts, self.texts, written, strict=True):
            if text is not None and (new := text.update(tokens, decode=prompt.streamed)):
                prompt.emit(NewText(new))
        return [prompt.cancelled.is_set() for prompt in self._prompts]


def decoding_job(
    base: BaseModel, task: str, spec: Any, example: Example, decoding: Decoding, max_tokens: int
) -> Job:
    """Return a job with the decoding settings of a request, for a task that generates answers.

    Raises: DataError, if the context of the model is too short for the answer.
    """
    kind = kind_of(spec)
    if isinstance(spec, GenerativeSpec):
        temperature = spec.temperature if decoding.temperature is None else decoding.temperature
        settings = {
            "max_new_tokens": decoding.max_tokens or min(spec.max_new_tokens, max_tokens),
            "temperature": temperature,
            "stop": tuple(dict.fromkeys((*spec.stop, *decoding.stop))),
            "samples": 1,
        }
        spec = spec.model_copy(update=settings)
        seed = secrets.randbits(62) if decoding.seed is None else decoding.seed
        example = replace(example, id=seed if temperature else 0)
    length = kind.encoder_length if base.architecture == "seq2seq-lm" else kind.prompt_length
    return Job(task, spec, example, length(spec, base.context, base.context))


def _answer_text(loaded: LoadedRun, job: Job) -> AnswerText | None:
    """Return the progress of a generated answer; None for a task whose answer is a label or a choice."""
    kind = kind_of(job.spec)
    if not isinstance(kind, Generative):
        return None
    tokenizer = loaded.base.tokenizer
    return AnswerText(job.spec, kind, tokenizer, end_token_ids(loaded.model, tokenizer))


def _router(loaded: LoadedRun) -> tuple[Router | None, str | None]:
    """Return the router, or why there is none."""
    try:
        return load_router(loaded), None
    except InputError as error:
        return None, str(error)


def _fail(prompts: Iterable[Prompt], error: Exception) -> None:
    if not isinstance(error, ApiError | InputError):
        log.error("a request failed: %s", error, exc_info=None if isinstance(error, LoriError) else error)
    for prompt in prompts:
        prompt.emit(Failed(error))
