"""Prompts that wait are answered together; one thread answers, and ends cleanly."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from lori_cl.serving.openai_server.api_error import ApiError
from lori_cl.serving.openai_server.engine import Engine
from lori_cl.serving.openai_server.events import Decoding, Event, Failed, Finished, NewText, Prompt
from lori_cl.serving.openai_server.worker import Worker
from lori_cl.serving.predict import Predictor

TEXT = "it is wet it"


def prompt_of(
    model: str, text: str = TEXT, *, streamed: bool = False, decoding: Decoding | None = None
) -> tuple[Prompt, list[Event]]:
    events: list[Event] = []
    return Prompt(model, text, decoding or Decoding(), streamed, events.append), events


def test_prompts_of_two_tasks_share_a_pass(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[list[str]] = []
    answer_batch = Predictor.answer_batch

    def record(self: Predictor, jobs: Sequence[object], *rest: object) -> object:
        passes.append([job.task for job in jobs])  # type: ignore[attr-defined]
        return answer_batch(self, jobs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Predictor, "answer_batch", record)
    alone = {}
    for task in ("say", "turn"):
        prompt, events = prompt_of(task)
        engine.answer([prompt])
        alone[task] = events[-1]
    passes.clear()
    prompts = [prompt_of(task) for task in ("say", "turn", "say")]
    engine.answer([prompt for prompt, _ in prompts])
    assert passes == [["say", "turn", "say"]]
    assert [events[-1] for _, events in prompts] == [alone["say"], alone["turn"], alone["say"]]


def test_text_is_emitted_while_the_answer_is_generated(engine: Engine) -> None:
    prompt, events = prompt_of("say", streamed=True)
    engine.answer([prompt])
    _, *texts, finished = events
    assert isinstance(finished, Finished)
    assert len(texts) >= 3
    assert all(isinstance(event, NewText) for event in texts)


def test_prompt_that_cannot_be_read_does_not_affect_the_others(engine: Engine) -> None:
    (bad, of_bad), (good, of_good) = prompt_of("say", "\ud800"), prompt_of("say")
    engine.answer([bad, good])
    assert [type(event) for event in of_bad] == [Failed]
    assert isinstance(of_good[-1], Finished)


def test_failed_pass_does_not_affect_the_next_one(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(Predictor, "answer_batch", fail)
        prompt, events = prompt_of("say")
        engine.answer([prompt])
        assert isinstance(events[-1], Failed)
    prompt, events = prompt_of("say")
    engine.answer([prompt])
    assert isinstance(events[-1], Finished)


def test_cancelled_prompt_is_not_generated_to_its_end(engine: Engine) -> None:
    full, of_full = prompt_of("say", decoding=Decoding(temperature=2.0, max_tokens=20, seed=1))
    engine.answer([full])
    assert isinstance(of_full[-1], Finished)
    assert of_full[-1].completion_tokens > 2
    prompt, events = prompt_of("say", decoding=Decoding(temperature=2.0, max_tokens=20, seed=1))

    def cancel_after_start(event: Event) -> None:
        events.append(event)
        prompt.cancelled.set()

    object.__setattr__(prompt, "emit", cancel_after_start)
    engine.answer([prompt])
    assert isinstance(events[-1], Finished)
    assert events[-1].completion_tokens == 1


def test_model_that_cannot_mix_adapters_answers_each_task_in_its_own_pass(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers() -> list[Event]:
        prompts = [prompt_of(task, streamed=True) for task in ("say", "turn")]
        engine.answer([prompt for prompt, _ in prompts])
        return [events[-1] for _, events in prompts]

    mixed = answers()
    monkeypatch.setattr(engine.predictor, "_mixes", False)
    assert answers() == mixed


def test_unexpected_error_does_not_end_the_thread() -> None:
    def fail(prompts: Sequence[Prompt]) -> None:
        raise KeyError("unexpected")

    worker = Worker(fail, max_waiting=2, batch_size=1)
    worker.start()
    (first, of_first), (second, of_second) = prompt_of("say"), prompt_of("say")
    worker.submit([first, second])
    with pytest.raises(ApiError, match="the request has 3 prompts; this server accepts up to 2"):
        worker.submit([first] * 3)
    worker.stop()
    assert [type(events[0]) for events in (of_first, of_second)] == [Failed, Failed]


def test_waiting_prompts_are_collected_and_the_limit_is_kept() -> None:
    batches: list[list[str]] = []
    begun, go_on = threading.Event(), threading.Event()

    def answer(prompts: Sequence[Prompt]) -> None:
        batches.append([prompt.model for prompt in prompts])
        begun.set()
        assert go_on.wait(10)

    worker = Worker(answer, max_waiting=3, batch_size=2)
    worker.start()
    prompts = [prompt_of(str(n))[0] for n in range(6)]
    worker.submit(prompts[:1])
    assert begun.wait(10)
    worker.submit(prompts[1:4])
    with pytest.raises(ApiError, match="3 prompts are waiting") as refused:
        worker.submit(prompts[4:])
    assert refused.value.status == 429
    go_on.set()
    worker.stop()
    assert batches == [["0"], ["1", "2"], ["3"]]
