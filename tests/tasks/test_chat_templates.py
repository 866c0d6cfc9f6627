# ruff: noqa: E501
"""A model's chat template is untrusted input: its output matches transformers, and it always terminates."""

from __future__ import annotations

import datetime
import time

import pytest
from transformers import PreTrainedTokenizerFast

from lori_cl.errors import DataError
from lori_cl.tasks import Example, kind_of
from lori_cl.tasks.templates.chat import chat_text, render_chat_template

from .task_files import generation

TURN = [{"role": "user", "content": "  What is\n2 + 2?</think> "}]
TEMPLATES = {
    "llama": """{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}{%- set date_string = strftime_now("%Y") %}
    {%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}{%- set system_message = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {{- tool_call.arguments | tojson }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
""",
    "qwen": """{%- if tools %}{{- tools | tojson }}{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
    {{- '<|im_start|>' + message.role + '\\n' + content + '|' + reasoning + '<|im_end|>' + '\\n' }}
    {%- if loop.last or (not loop.last and reasoning) %}{{ loop.index }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>' }}{%- endif %}
{%- endif %}
""",
    "gemma": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {{ raise_exception('System role not supported') }}
{%- endif -%}
{% for message in messages %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Roles must alternate') }}
    {% endif %}
    {% set role = 'model' if message['role'] == 'assistant' else message['role'] %}
    {{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
    {%- generation %}{{ 'x' }}{% endgeneration %}
{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}
""",
    "everything": """{%- macro wrap(text, tag='b') %}<{{ tag }}>{{ text }}</{{ tag }}>{% endmacro %}
{% set loop_messages = messages %}
{% for m in loop_messages if m.role %}
  {% if loop.first %}{{ wrap(m.content | trim, tag='u') }}{% endif %}
  {% for k, v in m.items() %}{{ k }}={{ v | replace('2', 'two') }}{{ ', ' if not loop.last }}{% endfor %}
  {{ m | tojson(indent=2) }}{{ m.get('name', none) }}{{ [1, 'a', none] }}{{ absent }}{{ m }}
  {{ "%s-%d" | format(m.role, 3) }}{{ "{} {role!r}".format(m.role, role=1) }}{{ 'ab'.center(6) }}{{ '-' * 4 }}
  {{ m.content | indent(3) }}{{ m.content | upper | length }}{{ m.content.strip().title() }}
  {% if loop.index0 == 9 %}{% continue %}{% endif %}{% break %}
{% endfor %}
{% macro around() %}({{ caller('c') }}){% endmacro %}{% call(x) around() %}{{ x }}{% endcall %}{% filter upper %}abc{% endfilter %}
{% set block %}in a {{ 'block' }}{% endset %}{{ block ~ 1 ~ none }}{{ messages | map(attribute='role') | join(', ') }}
{{ dict(a=1) }}{{ range(3) | list }}{{ true }}{{ 'x' if false }}{{ 1.0 }}{{ messages | selectattr('role', 'equalto', 'user') | list | count }}""",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_chat_template_output_matches_transformers(tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    tokenizer.chat_template = TEMPLATES[name]
    reference = tokenizer.apply_chat_template(TURN, add_generation_prompt=True, tokenize=False)
    assert chat_text(tokenizer, TURN) == reference


@pytest.mark.parametrize("name", TEMPLATES)
def test_output_for_several_turns_matches_transformers(tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    tokenizer.chat_template = TEMPLATES[name]
    turns = [*TURN, {"role": "assistant", "content": "4\n"}, {"role": "user", "content": "And 3 + 3?"}]
    reference = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert chat_text(tokenizer, turns) == reference


def test_chat_template_uses_the_clock_passed_by_the_caller() -> None:
    template = "{{ strftime_now('%d %b %Y') if strftime_now is defined }}"
    day = datetime.datetime(2024, 7, 26, tzinfo=datetime.UTC)
    assert render_chat_template(template, TURN, strftime_now=day.strftime) == "26 Jul 2024"


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{{ 'a' * 10 ** 9 }}",
        "{{ [1] * 10 ** 9 }}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ 'a'.ljust(10 ** 9) }}",
        "{{ 'a'.center(width) }}{% set width = 10 ** 9 %}",
        "{{ 'a' | center(10 ** 9) }}",
        "{{ 'a\\nb' | indent(10 ** 9) }}",
        "{{ [1] | tojson(indent=10 ** 9) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '{:>{w}}'.format(1, w=10 ** 9) }}",
        "{{ ('{0}' * 99999).format('x' * 99999) }}",
        "{{ ('x' * 99999).join(range(99999) | map('string') | list) }}",
        "{{ ('x' * 99999).replace('x', 'y' * 99999) }}",
        "{{ ('\\t' * 99999).expandtabs(10 ** 6) }}",
        "{{ '0'.zfill(10 ** 9) }}",
        "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% if messages[0].content %}{% for a in range(99999) %}{{ 'long ' * 9999 }}{% endfor %}{% endif %}",
        "x" * 300_000,
        "{{ messages | random }}",
        "{{ messages[0].content.strip }}",
        "{{ cycler('a') }}",
        "{{ lipsum() }}",
    ],
)
def test_endless_or_oversized_chat_template_raises_one_error(
    tokenizer: PreTrainedTokenizerFast, template: str
) -> None:
    task = generation(chat=True, max_new_tokens=4)
    tokenizer.chat_template = template
    start = time.process_time()
    with pytest.raises(DataError, match="task 'sums': the model's chat template fails: "):
        kind_of(task).features(task, tokenizer, Example(0, "a b", "good"), 32)
    assert time.process_time() - start < 5
