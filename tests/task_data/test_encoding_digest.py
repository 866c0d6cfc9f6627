"""The digest of a score covers the token ids that the model reads; they do not depend on the day."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

from lori_cl.errors import DataError
from lori_cl.evaluation import load_run
from lori_cl.registry import Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.serving.predict import Predictor
from lori_cl.serving.remeasure import RemeasureOptions, remeasure
from lori_cl.serving.requests import read_rows
from lori_cl.spec import TASK_SPECS, load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.task_data.encoding import encoding_digest
from lori_cl.task_data.eval_tasks import EvalTask
from lori_cl.tasks import Example
from lori_cl.tasks.kinds import chat
from lori_cl.training import RunOptions, run_curriculum
from tests.tiny import tiny_curriculum

KINDS: dict[str, dict[str, Any]] = {
    "generation": {"kind": "generation", "prompt": "{{ q }}", "answer": "{{ a }}"},
    "choices": {"kind": "multiple_choice", "prompt": "{{ q }}", "choices": "c", "answer": "0"},
    "label words": {"kind": "classification", "prompt": "{{ q }}", "labels": ["red", "blue"]},
    "labels": {"kind": "classification", "labels": ["red", "blue"]},
}
EXAMPLES = [Example(0, "it is wet", "red", ("red", "blue"))]
# The first word of a prompt depends on the clock.
TEMPLATE = (
    "{{ 'wet' if strftime_now('%Y') == '2024' else 'dry' }} {% for m in messages %}{{ m['content'] }}"
    "{% endfor %} is "
)


def eval_task(kind: str, examples: list[Example] = EXAMPLES, max_length: int = 16, **more: Any) -> EvalTask:
    declared = {"name": "t", "source": {"local": "t"}, **KINDS[kind], **more}
    spec = TASK_SPECS[str(declared["kind"])].model_validate(declared)
    return EvalTask("t", spec, examples, "digest", 4, max_length)


@pytest.fixture
def tokenizer(tiny_causal_lm: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_causal_lm)


@pytest.mark.parametrize("kind", KINDS)
def test_different_tokens_of_the_same_text_change_the_digest(
    kind: str, tokenizer: Any, tmp_path: Path
) -> None:
    before = encoding_digest(eval_task(kind), tokenizer)
    assert encoding_digest(eval_task(kind), tokenizer) == before
    swapped = with_swapped_words(tokenizer, tmp_path, "it", "wet")
    assert encoding_digest(eval_task(kind), swapped) != before


@pytest.mark.parametrize("kind", ["choices", "label words", "labels"])
def test_tokens_of_labels_and_choices_are_part_of_the_digest(
    kind: str, tokenizer: Any, tmp_path: Path
) -> None:
    before = encoding_digest(eval_task(kind), tokenizer)
    assert encoding_digest(eval_task(kind), with_swapped_words(tokenizer, tmp_path, "red", "dry")) != before


def with_swapped_words(tokenizer: Any, folder: Path, one: str, other: str) -> Any:
    tokenizer.save_pretrained(folder)
    record = json.loads((folder / "tokenizer.json").read_text())
    words = record["model"]["vocab"]
    words[one], words[other] = words[other], words[one]
    (folder / "tokenizer.json").write_text(json.dumps(record))
    return AutoTokenizer.from_pretrained(folder)


def test_truncated_prompt_text_is_not_part_of_the_digest(tokenizer: Any) -> None:
    one, other = ([Example(0, f"{word} is wet it", "red")] for word in ("red", "blue"))
    assert encoding_digest(eval_task("generation", one, 3), tokenizer) == encoding_digest(
        eval_task("generation", other, 3), tokenizer
    )
    assert encoding_digest(eval_task("generation", one), tokenizer) != encoding_digest(
        eval_task("generation", other), tokenizer
    )


@pytest.mark.parametrize("kind", ["generation", "choices", "label words"])
def test_encoding_that_differs_each_time_is_refused(
    kind: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = itertools.cycle(["wet", "dry"])
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    monkeypatch.setattr(chat, "chat_text", lambda *_, **__: next(words))
    with pytest.raises(DataError, match=r"^task 't', row 1: .* encodes the same text differently each time"):
        encoding_digest(eval_task(kind, chat=True), tokenizer)


class FixedClock(dt.datetime):
    """A clock with a fixed date."""

    today = dt.datetime(2024, 7, 26)

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
        return cls.today


@pytest.fixture
def set_year(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the year that chat templates of transformers read."""
    monkeypatch.setattr(chat_template_utils, "datetime", FixedClock)
    return lambda year: monkeypatch.setattr(FixedClock, "today", dt.datetime(year, 11, 27))


@pytest.fixture
def dated_model(tiny_causal_lm: Path, tmp_path: Path) -> Path:
    """A causal LM whose chat template writes the year."""
    folder = Path(shutil.copytree(tiny_causal_lm, tmp_path / "dated"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture
def train_in_year(
    workspace: Workspace,
    write_task: Callable[..., Path],
    dated_model: Path,
    tmp_path: Path,
    set_year: Callable[[int], None],
) -> Callable[..., bool]:
    """Add task a and run a curriculum with it in a given year; return whether the task was new."""

    def train(year: int, name: str, **fields: object) -> bool:
        set_year(year)
        (added,) = register_tasks(
            workspace, [write_task("a", prompt="{{ text }}", **{"chat": True, **fields})]
        )
        file = tmp_path / "curriculum.yaml"
        file.write_text(yaml.safe_dump(tiny_curriculum(dated_model, ["a"])))
        run_curriculum(workspace, load_curriculum(file), name, RunOptions(), SilentProgress())
        return added.is_new

    return train


TrainInYear = Callable[..., bool]


def test_run_on_another_day_reads_the_same_tokens_and_uses_cached_scores(
    train_in_year: TrainInYear, scores: Any
) -> None:
    assert train_in_year(2024, "one")
    assert not train_in_year(2031, "two"), "an unchanged file must not become a new version on another day"
    one, two = scores("one"), scores("two")
    assert {key: e.outcomes for key, e in one.items()} == {key: e.outcomes for key, e in two.items()}
    assert {e.source for e in two.values()} == {"cached"}


def test_different_task_date_is_a_different_task_with_its_own_scores(
    train_in_year: TrainInYear, scores: Any
) -> None:
    train_in_year(2024, "one")
    assert train_in_year(2024, "two", date="2031-11-27")
    assert scores("two")[0, "a@2", "base"].source == "measured"
    assert scores("two")[0, "a@2", "base"].input_digest != scores("one")[0, "a", "base"].input_digest


def test_score_is_measured_again_if_the_model_would_read_different_tokens(
    train_in_year: TrainInYear, scores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_in_year(2024, "one")
    monkeypatch.setattr(chat, "_clock", lambda day: lambda form: "2031")  # same task, same base model
    train_in_year(2024, "two")
    assert scores("two")[0, "a", "base"].source == "measured"
    assert scores("two")[1, "a", "as_trained"].source == "measured"


def test_measured_scores_and_answers_are_the_same_on_another_day(
    train_in_year: TrainInYear, workspace: Workspace, set_year: Callable[[int], None]
) -> None:
    train_in_year(2024, "one")

    def read_and_answer() -> tuple[list[str], list[str]]:
        with workspace.read() as registry:
            checked = remeasure(workspace, registry, "one", RemeasureOptions(), SilentProgress())
            found = [each.found for each in checked]
            loaded = load_run(workspace, registry, "one")
        texts = [f"is it {word}" for word in ("red", "blue", "wet", "dry", "flat")]
        eval_requests = read_rows(loaded, texts, "a", plain=True)
        return found, [each.answer for each in Predictor(loaded).answer(eval_requests)]

    first = read_and_answer()
    assert first[0]
    set_year(2031)
    assert read_and_answer() == first


def test_random_chat_template_is_refused_before_a_run_starts(
    train_in_year: TrainInYear, workspace: Workspace, dated_model: Path
) -> None:
    (dated_model / "chat_template.jinja").write_text(
        "{{ ['wet', 'dry', 'flat'] | random }} {{ messages[0]['content'] }}"
    )
    with pytest.raises(DataError, match="the model's chat template fails: No filter named 'random'"):
        train_in_year(2024, "one")
    with workspace.read() as registry:
        assert registry.find_run("one") is None
