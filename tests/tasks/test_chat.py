from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from lori_cl.errors import DataError
from lori_cl.tasks import Example, kind_of
from lori_cl.tasks.kinds.chat import render_chat

from .task_files import generation, multiple_choice
from .tiny_models import WORDS, llama

TEMPLATE = (
    "{{ '[BOS] ' }}{% for m in messages %}{{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}{{ 'fine ' }}{% endif %}"
)
TASK = generation(chat=True, max_new_tokens=4)


def ids(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


@pytest.fixture
def chatting(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def test_a_prompt_is_the_users_turn_and_the_loss_is_on_the_answer(
    chatting: PreTrainedTokenizerFast,
) -> None:
    found = kind_of(TASK).features(TASK, chatting, Example(0, "a b", "good"), 32)
    assert found.fields["input_ids"] == ids("[BOS] a b fine good [EOS]")
    assert found.fields["labels"] == [-100] * 4 + ids("good [EOS]")


def test_answers_follow_the_template(chatting: PreTrainedTokenizerFast) -> None:
    model, plain = llama(), generation(max_new_tokens=4)
    asked = kind_of(TASK).answers(TASK, model, chatting, [Example(0, "a b", "good")], 32)
    spelt_out = kind_of(plain).answers(plain, model, chatting, [Example(0, "[BOS] a b fine", "good")], 32)
    assert asked == spelt_out


def test_choices_follow_the_template(chatting: PreTrainedTokenizerFast) -> None:
    task = multiple_choice(chat=True)
    found = kind_of(task).features(task, chatting, Example(0, "a", "good", ("good", "bad")), 32)
    assert found.fields["input_ids"] == ids("[BOS] a fine good")


def test_the_templates_own_tokens_count(chatting: PreTrainedTokenizerFast) -> None:
    examples = [Example(0, "a b", "good")]
    assert [kind_of(TASK).truncated(TASK, chatting, examples, n) for n in (4, 3)] == [0, 1]


def test_a_tokenizer_without_a_chat_template_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match="task 'sums' says chat: true, and the model's tokenizer has no chat"):
        kind_of(TASK).features(TASK, tokenizer, Example(0, "a b", "good"), 32)


def test_a_chat_template_that_fails_is_one_error(chatting: PreTrainedTokenizerFast) -> None:
    chatting.chat_template = "{{ raise_exception('user turns only') }}"
    with pytest.raises(DataError, match="the model's chat template fails: user turns only"):
        kind_of(TASK).features(TASK, chatting, Example(0, "a b", "good"), 32)


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
def test_a_chat_template_reads_the_tasks_date(
    template: str, chatting: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template_utils, "datetime", None)  # the clock is not read
    chatting.chat_template = template
    assert render_chat(generation(chat=True), chatting, "a b") == "26 Jul 2024 a b"
    assert render_chat(generation(chat=True, date="2026-11-27"), chatting, "a b") == "27 Nov 2026 a b"


def test_the_time_of_a_tasks_date_is_midnight(chatting: PreTrainedTokenizerFast) -> None:
    chatting.chat_template = "{{ strftime_now('%A %B %H:%M:%S') }}"
    assert render_chat(generation(chat=True, date="2026-11-27"), chatting, "a") == "Friday November 00:00:00"


def test_a_chat_is_rendered_as_transformers_renders_it(chatting: PreTrainedTokenizerFast) -> None:
    chatting.chat_template = {
        "default": "{{ bos_token }}{{ tools }}{% for m in messages %}{{ m | tojson }}{% endfor %}",
        "tool_use": "",
    }
    message = {"role": "user", "content": "a\nb"}
    wanted = chatting.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    assert render_chat(TASK, chatting, "a\nb") == wanted


def test_a_chat_template_that_prints_an_address_is_refused(chatting: PreTrainedTokenizerFast) -> None:
    chatting.chat_template = "{{ raise_exception }} {{ messages[0]['content'] }}"
    with pytest.raises(DataError, match=r"raise_exception .* is a function"):
        render_chat(TASK, chatting, "a")
