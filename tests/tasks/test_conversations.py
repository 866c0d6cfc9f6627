"""Conversations: loss on assistant turns only, the last one is the answer, and one BOS in every prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import PreTrainedTokenizerFast

from lori_cl.errors import DataError
from lori_cl.spec import GenerationSpec, task_from_record
from lori_cl.tasks import Example, from_jsonl, kind_of, read_task, to_jsonl, train_examples
from lori_cl.tasks.kinds.chat import render_turns

from .task_files import generation, write_rows
from .tiny_models import WORDS, llama, word_tokenizer

TEMPLATE = (
    "{{ '[BOS] ' }}{% for m in messages %}"
    "{{ {'system': 'a', 'user': 'b', 'assistant': 'c'}[m['role']] }} {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}{{ 'c ' }}{% endif %}"
)


def chat_task(**fields: Any) -> GenerationSpec:
    declared = {
        "name": "talk",
        "kind": "generation",
        "source": {"local": "data"},
        "format": "messages",
        "chat": True,
        "max_new_tokens": 4,
    }
    return GenerationSpec.model_validate({**declared, **fields})


def messages(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def talk(*texts: str) -> dict[str, Any]:
    """A conversation in which the user begins."""
    return messages(*((("user", "assistant")[i % 2], text) for i, text in enumerate(texts)))


TWO_TURNS = {"messages": messages(("system", "e"))["messages"] + talk("f", "good", "g", "bad")["messages"]}


def examples(folder: Path, row: Any, task: GenerationSpec | None = None) -> list[Example]:
    write_rows(folder / "data" / "train.jsonl", [row])
    return train_examples(task or chat_task(), folder)


def ids(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


@pytest.fixture
def chat_tokenizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def features(
    task: GenerationSpec, tokenizer: PreTrainedTokenizerFast, found: list[Example], max_length: int = 32
) -> list[tuple[list[int], list[int]]]:
    made = [kind_of(task).features(task, tokenizer, example, max_length).fields for example in found]
    return [(each["input_ids"], [i for i in each["labels"] if i != -100]) for each in made]


def test_every_assistant_turn_and_nothing_else_has_loss(
    tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    assert features(chat_task(), chat_tokenizer, examples(tmp_path, TWO_TURNS)) == [
        (ids("[BOS] a e b f c good [EOS]"), ids("good [EOS]")),
        (ids("[BOS] a e b f c good b g c bad [EOS]"), ids("bad [EOS]")),
    ]


def test_last_assistant_turn_is_the_answer_of_the_eval_set(
    tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    task = chat_task()
    write_rows(tmp_path / "data" / "train.jsonl", [messages(("user", "h"), ("assistant", "fine"))])
    write_rows(tmp_path / "data" / "test.jsonl", [TWO_TURNS])
    (example,) = read_task(task, tmp_path).held_out
    assert example.target == "bad"
    prompt = kind_of(task).prompt_tokens(task, chat_tokenizer, example, 32)
    assert prompt == ids("[BOS] a e b f c good b g c")
    assert len(kind_of(task).answers(task, llama(), chat_tokenizer, [example], 32)) == 1


def test_example_survives_the_eval_file(tmp_path: Path) -> None:
    found = examples(tmp_path, TWO_TURNS)
    assert from_jsonl(to_jsonl(found)) == found
    assert b"turns" not in to_jsonl([Example(0, "a", "b")])


def test_sharegpt_is_read_like_messages(tmp_path: Path) -> None:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    turns = [{"from": names[m["role"]], "value": m["content"]} for m in TWO_TURNS["messages"]]
    found = examples(tmp_path, {"conversations": turns}, chat_task(format="sharegpt"))
    assert found == examples(tmp_path, TWO_TURNS)


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv"])
def test_conversations_are_read_from_every_format(tmp_path: Path, ending: str) -> None:
    row = TWO_TURNS if ending != "csv" else {"messages": json.dumps(TWO_TURNS["messages"])}
    write_rows(tmp_path / "data" / f"train.{ending}", [row])
    assert [e.target for e in train_examples(chat_task(), tmp_path)] == ["good", "bad"]


def test_text_parts_are_joined(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
    row = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "good"}]}
    assert examples(tmp_path, row)[0].turns == (("user", "a b"),)


def test_turns_after_the_last_assistant_turn_are_ignored(tmp_path: Path) -> None:
    row = messages(("assistant", "hello"), ("user", "f"), ("assistant", "good"), ("user", "g"))
    (example,) = examples(tmp_path, row)
    assert (example.target, example.turns) == ("good", (("assistant", "hello"), ("user", "f")))


def test_without_a_chat_template_turns_are_plain_text(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    task = chat_task(chat=False)
    first, second = examples(tmp_path, TWO_TURNS, task)
    assert (first.text, first.target) == ("System: e\n\nUser: f\n\nAssistant:", " good")
    assert second.text == "System: e\n\nUser: f\n\nAssistant: good\n\nUser: g\n\nAssistant:"
    assert features(task, tokenizer, [first])[0][1] == ids("good [EOS]")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (messages(("user", "a")), "the conversation has no assistant turn after a user turn"),
        (messages(("assistant", "a")), "the conversation has no assistant turn after a user turn"),
        (
            messages(("user", "a"), ("robot", "b")),
            r"messages, turn 2: 'role' is 'robot'; use one of system, user,",
        ),
        (messages(("user", " "), ("assistant", "b")), r"turn 1: 'content' is ' ', not a text"),
        ({"messages": []}, r"contains \[\], not a list of turns"),
        ({"messages": {"role": "user"}}, "not a list of turns"),
        ({"messages": "hello"}, "is not a list of turns in JSON"),
        ({"messages": ["hello"]}, "turn 1: 'hello' is not an object with 'role' and 'content'"),
        ({"other": 1}, "unknown column 'messages', which format: messages reads"),
        ({"messages": [{"role": "user", "content": None}]}, "'content' is None, not a text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "not a text"),
        (
            {"messages": [{"role": "assistant", "content": "a", "tool_calls": [{}]}]},
            "tool calls cannot be rendered",
        ),
        (
            talk(*"ab" * 501),
            "1,002 turns; a conversation has at most 1,000",
        ),
        (
            talk(*["a" * 2**15] * 80),
            "too long to train on every turn",
        ),
    ],
)
def test_invalid_conversation_is_refused_with_its_line(tmp_path: Path, row: Any, problem: str) -> None:
    with pytest.raises(DataError, match=rf"train\.jsonl, line 1: .*{problem}"):
        examples(tmp_path, row)


def test_rows_of_one_conversation_stay_on_one_side(tmp_path: Path) -> None:
    rows = [talk(f"question {i % 30}", "good", f"more {i}", "bad") for i in range(90)]
    write_rows(tmp_path / "talk.jsonl", rows)
    data = read_task(chat_task(source={"local": "talk.jsonl"}, eval={"fraction": 0.3}), tmp_path)
    first = [{example.turns[0] for example in side} for side in (data.train, data.held_out)]
    assert first[0].isdisjoint(first[1])
    assert len(data.train) == 2 * (90 - len(data.held_out))


@pytest.mark.parametrize(
    ("room", "kept"),
    [
        (11, "[BOS] a e b f c good b g c"),
        (9, "[BOS] a e b g c"),
        (6, "[BOS] a e b g c"),
    ],
)
def test_oldest_turns_are_removed_first_and_the_system_turn_is_kept(
    tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast, room: int, kept: str
) -> None:
    example = examples(tmp_path, TWO_TURNS)[1]
    assert kind_of(chat_task()).prompt_tokens(chat_task(), chat_tokenizer, example, room) == ids(kept)


def test_last_user_turn_is_truncated_after_all_older_turns_are_removed(
    tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    row = talk("f", "good", "h", "fine", "e f g h", "bad")
    example = examples(tmp_path, row)[-1]
    found = kind_of(chat_task()).features(chat_task(), chat_tokenizer, example, 7)
    assert found.fields["input_ids"] == ids("[BOS] b g h c bad [EOS]")
    assert found.truncated


def test_tokenizer_that_adds_bos_gives_one_bos(
    tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    chat_tokenizer.add_bos_token = True
    for found, _ in features(chat_task(), chat_tokenizer, examples(tmp_path, TWO_TURNS)):
        assert found.count(WORDS.index("[BOS]")) == 1


def test_end_token_that_is_also_the_padding_has_loss(tmp_path: Path) -> None:
    tokenizer = word_tokenizer()
    tokenizer.chat_template, tokenizer.pad_token = TEMPLATE, tokenizer.eos_token
    task, end = chat_task(), WORDS.index("[EOS]")
    found = examples(tmp_path, TWO_TURNS)
    fields = [kind_of(task).features(task, tokenizer, each, 32).fields for each in found]
    batch = kind_of(task).collate(tokenizer, fields)
    short = batch["labels"][0].tolist()
    assert short[:8] == [-100] * 6 + [WORDS.index("good"), end]
    assert short[8:] == [-100] * 4
    assert batch["input_ids"][0, 8:].tolist() == [end] * 4
    assert batch["attention_mask"][0].tolist() == [1] * 8 + [0] * 4


def test_prediction_reads_a_conversation_up_to_its_last_user_turn() -> None:
    kind, task = kind_of(chat_task()), chat_task()
    prompt = (("user", "f"), ("assistant", "good"), ("user", "g"))
    assert kind.input_example(task, talk("f", "good", "g"), "here").turns == prompt
    assert kind.input_example(task, talk("f", "good", "g", "bad"), "here").turns == prompt
    assert kind.text_column(task) == "messages"
    assert kind.input_example(task, {"messages": "f"}, "here").turns == (("user", "f"),)
    with pytest.raises(DataError, match="here: the conversation has no user turn"):
        kind.input_example(task, messages(("system", "f")), "here")


def test_system_turn_of_the_task_is_written_before_the_user_turn(
    chat_tokenizer: PreTrainedTokenizerFast,
) -> None:
    task = generation(chat=True, system="e", max_new_tokens=4)
    found = kind_of(task).prompt_tokens(task, chat_tokenizer, Example(0, "f g", "good"), 32)
    assert found == ids("[BOS] a e b f g c")
    assert kind_of(task).prompt_tokens(task, chat_tokenizer, Example(0, "f g", "good"), 6) == ids(
        "[BOS] a e b g c"
    )


def test_system_turn_of_a_row_replaces_that_of_the_task(
    tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    task = chat_task(system="h")
    own, added = TWO_TURNS, messages(("user", "f"), ("assistant", "good"))
    assert features(task, chat_tokenizer, examples(tmp_path, own))[0][0][:3] == ids("[BOS] a e")
    assert features(task, chat_tokenizer, examples(tmp_path, added))[0][0][:3] == ids("[BOS] a h")


def test_tasks_with_different_system_turns_or_dates_share_no_batch() -> None:
    tasks = [chat_task(), chat_task(system="e"), chat_task(system="f"), chat_task(date="2026-11-27")]
    assert len({kind_of(task).decoding(task) for task in tasks}) == 4


def test_rendering_of_a_conversation_matches_transformers(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    turns = [("system", "e"), ("user", "f"), ("assistant", "good"), ("user", "g")]
    expected = chat_tokenizer.apply_chat_template(
        [{"role": role, "content": text} for role, text in turns], add_generation_prompt=True, tokenize=False
    )
    assert render_turns(chat_task(), chat_tokenizer, turns) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": "{{ q }}"}, "format: messages gives prompts and answers; remove 'prompt'"),
        ({"answers": "golds"}, "remove 'answers'"),
        ({"train": {"prompt": "{{ q }}"}}, r"remove 'train\.prompt'"),
        (
            {"format": None},
            "'prompt' is missing from a task; give a template, or a format: messages",
        ),
        ({"format": "openai"}, "'messages', 'sharegpt', 'alpaca'"),
        ({"chat": False, "system": "a"}, "system is only used by a chat template"),
        ({"system": " "}, "system is empty"),
    ],
)
def test_contradictory_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        chat_task(**fields)


def test_records_are_as_before_the_fields_existed() -> None:
    assert {"format", "system"}.isdisjoint(generation(chat=True).to_record())
    task = chat_task(system="a")
    assert task_from_record(task.to_record()) == task


BELOW = "Below is an instruction that describes a task"
RESPOND = "Write a response that appropriately completes the request."
ALPACA_ROW = {"instruction": "Add.", "input": "1 2", "output": "3"}


@pytest.mark.parametrize(
    ("chat", "row", "text"),
    [
        (True, ALPACA_ROW, "Add.\n\n1 2"),
        (True, {**ALPACA_ROW, "input": ""}, "Add."),
        (True, {"instruction": "Add.", "output": "3"}, "Add."),
        (
            False,
            ALPACA_ROW,
            f"{BELOW}, paired with an input that provides further context. {RESPOND}\n\n"
            "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:",
        ),
        (
            False,
            {**ALPACA_ROW, "input": None},
            f"{BELOW}. {RESPOND}\n\n### Instruction:\nAdd.\n\n### Response:",
        ),
    ],
)
def test_alpaca_rows_are_rendered_as_published(tmp_path: Path, chat: bool, row: Any, text: str) -> None:
    found = examples(tmp_path, row, chat_task(format="alpaca", chat=chat))
    assert found == [Example(0, text, "3")]


def test_prompt_and_completion_are_read(tmp_path: Path) -> None:
    task = chat_task(format="prompt-completion")
    assert examples(tmp_path, {"prompt": "1 + 2", "completion": "3"}, task) == [Example(0, "1 + 2", "3")]
    assert task_from_record(task.to_record()) == task


@pytest.mark.parametrize(
    ("row", "data_format"),
    [(TWO_TURNS, "messages"), ({"conversations": []}, "sharegpt"), (ALPACA_ROW, "alpaca")],
)
def test_missing_column_error_names_the_format_of_the_data(
    tmp_path: Path, row: Any, data_format: str
) -> None:
    with pytest.raises(DataError, match=rf"'[qa]' is undefined\. Columns: .*with format: {data_format}\.$"):
        examples(tmp_path, row, generation())


def test_prompt_of_the_task_replaces_that_of_the_format(tmp_path: Path) -> None:
    task = chat_task(format="alpaca", prompt="Q: {{ instruction }}")
    assert examples(tmp_path, ALPACA_ROW, task) == [Example(0, "Q: Add.", "3")]
