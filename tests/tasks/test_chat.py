from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from lori_cl.errors import DataError
from lori_cl.spec import GenerationSpec
from lori_cl.tasks import Example, kind_of
from lori_cl.tasks.kinds.chat import render_turns

from .task_files import generation, multiple_choice
from .tiny_models import WORDS, llama

TEMPLATE = (
    "{{ '[BOS] ' }}{% for m in messages %}{{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}{{ 'fine ' }}{% endif %}"
)
TASK = generation(chat=True, max_new_tokens=4)


def render_chat(task: GenerationSpec, tokenizer: PreTrainedTokenizerFast, content: str) -> str:
    return render_turns(task, tokenizer, [("user", content)])


def ids(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


@pytest.fixture
def chat_tokenizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def test_prompt_is_the_user_turn_and_only_the_answer_has_loss(
    chat_tokenizer: PreTrainedTokenizerFast,
) -> None:
    found = kind_of(TASK).features(TASK, chat_tokenizer, Example(0, "a b", "good"), 32)
    assert found.fields["input_ids"] == ids("[BOS] a b fine good [EOS]")
    assert found.fields["labels"] == [-100] * 4 + ids("good [EOS]")


def test_answers_follow_the_template(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    model, plain = llama(), generation(max_new_tokens=4)
    chat_answers = kind_of(TASK).answers(TASK, model, chat_tokenizer, [Example(0, "a b", "good")], 32)
    written_out_answers = kind_of(plain).answers(
        plain, model, chat_tokenizer, [Example(0, "[BOS] a b fine", "good")], 32
    )
    assert chat_answers == written_out_answers


def test_choices_follow_the_template(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    task = multiple_choice(chat=True)
    found = kind_of(task).features(task, chat_tokenizer, Example(0, "a", "good", ("good", "bad")), 32)
    assert found.fields["input_ids"] == ids("[BOS] a fine good")


def test_template_tokens_count_towards_max_length(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    examples = [Example(0, "a b", "good")]
    assert [kind_of(TASK).truncated(TASK, chat_tokenizer, examples, n) for n in (4, 3)] == [0, 1]


def test_tokenizer_without_a_chat_template_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match="task 'sums' sets chat: true, but the model's tokenizer has no chat"):
        kind_of(TASK).features(TASK, tokenizer, Example(0, "a b", "good"), 32)


def test_failing_chat_template_raises_one_error(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    chat_tokenizer.chat_template = "{{ raise_exception('user turns only') }}"
    with pytest.raises(DataError, match="the model's chat template fails: user turns only"):
        kind_of(TASK).features(TASK, chat_tokenizer, Example(0, "a b", "good"), 32)


CLOCKS = {
    "strftime_now": "{{ strftime_now('%d %b %Y') }} {{ messages[0]['content'] }}",
    "Llama 3.2": (
        "{%- if not date_string is defined %}{%- if strftime_now is defined %}"
        "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}"
        "{%- endif %}{%- endif %}{{ date_string }} {{ messages[0]['content'] }}"
    ),
    "date_string": (
        "{%- if not date_string is defined %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
        "{{ date_string }} {{ messages[0]['content'] }}"
    ),
    "macro": (
        "{% macro today() %}{{ strftime_now('%d %b %Y') }}{% endmacro %}"
        "{{ today() }} {{ messages[0]['content'] }}"
    ),
}


@pytest.mark.parametrize("template", CLOCKS.values(), ids=CLOCKS.keys())
def test_chat_template_reads_the_date_of_the_task(
    template: str, chat_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template_utils, "datetime", None)  # the clock is not read
    chat_tokenizer.chat_template = template
    assert render_chat(generation(chat=True), chat_tokenizer, "a b") == "26 Jul 2024 a b"
    assert render_chat(generation(chat=True, date="2026-11-27"), chat_tokenizer, "a b") == "27 Nov 2026 a b"


def test_task_date_has_midnight_as_its_time(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    chat_tokenizer.chat_template = "{{ strftime_now('%A %B %H:%M:%S') }}"
    assert (
        render_chat(generation(chat=True, date="2026-11-27"), chat_tokenizer, "a")
        == "Friday November 00:00:00"
    )


def test_chat_rendering_matches_transformers(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    chat_tokenizer.chat_template = {
        "default": "{{ bos_token }}{{ tools }}{% for m in messages %}{{ m | tojson }}{% endfor %}",
        "tool_use": "",
    }
    message = {"role": "user", "content": "a\nb"}
    expected = chat_tokenizer.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    assert render_chat(TASK, chat_tokenizer, "a\nb") == expected


def test_chat_template_that_prints_a_memory_address_is_refused(
    chat_tokenizer: PreTrainedTokenizerFast,
) -> None:
    chat_tokenizer.chat_template = "{{ raise_exception }} {{ messages[0]['content'] }}"
    with pytest.raises(DataError, match=r"raise_exception .* is a function"):
        render_chat(TASK, chat_tokenizer, "a")
