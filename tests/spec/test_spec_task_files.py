from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lori_cl.errors import SpecError
from lori_cl.spec import ClassificationSpec, GenerationSpec, load_task, task_from_record
from lori_cl.spec.task import Source

from .conftest import TASK, Write

GENERATION = """\
name: gsm8k
kind: generation
source: {local: gsm8k}
prompt: "{{ question }}"
answer: "{{ answer }}"
"""


def refusal(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load_task(path)
    return str(caught.value)


def test_classification_file_is_read_into_its_declaration(write: Write) -> None:
    task = load_task(write(TASK))
    assert isinstance(task, ClassificationSpec)
    assert (task.name, task.source.local, task.labels) == ("agnews", "agnews", ("World", "Sports"))


def test_generation_file_is_read_into_its_declaration(write: Write) -> None:
    task = load_task(write(GENERATION))
    assert isinstance(task, GenerationSpec)
    assert (task.prompt, task.metric) == ("{{ question }}", "exact_match")


def test_unknown_field_is_reported_with_file_line_and_nearest_field(write: Write) -> None:
    path = write(TASK.replace("metric:", "metrc:"))
    assert refusal(path) == f"{path}, line 7: 'metrc' is not a field of a task. Did you mean 'metric'?"


def test_unknown_nested_field_is_reported_with_its_owner_and_own_line(write: Write) -> None:
    message = refusal(path := write(TASK.replace("  local: agnews", "  local: agnews\n  revison: abc")))
    assert message.startswith(f"{path}, line 5: 'revison' is not a field of 'source'")
    assert "'revision'" in message


def test_unknown_field_without_a_near_match_lists_the_available_fields(write: Write) -> None:
    message = refusal(write(TASK.replace("columns: {text: text", "columns: {zzzzzz: text")))
    assert "Available: text, label, label_values." in message


def test_missing_field_is_reported(write: Write) -> None:
    message = refusal(path := write(TASK.replace("name: agnews\n", "")))
    assert message == f"{path}, line 1: 'name' is missing from a task"


def test_wrong_type_is_reported_with_line_and_value(write: Write) -> None:
    message = refusal(path := write(TASK + "eval:\n  limit: many\n"))
    assert message.startswith(f"{path}, line 9: 'eval.limit'")
    assert "'many'" in message


def test_fraction_is_refused_where_an_integer_is_needed(write: Write) -> None:
    message = refusal(path := write(TASK + "seed: 1.0\n"))
    assert message.startswith(f"{path}, line 8: 'seed'")
    assert "1.0" in message


@pytest.mark.parametrize("word", ["yes", "no", "on", "off"])
def test_unquoted_yes_or_no_label_error_advises_quotes(write: Write, word: str) -> None:
    message = refusal(path := write(TASK.replace("[World, Sports]", f"[maybe, {word}]")))
    assert message.startswith(f"{path}, line 6: 'labels[1]'")
    assert "put it in quotes" in message


def test_quoted_yes_is_a_label(write: Write) -> None:
    task = load_task(write(TASK.replace("[World, Sports]", "['no', 'yes']")))
    assert isinstance(task, ClassificationSpec)
    assert task.labels == ("no", "yes")


def test_duplicate_label_is_refused_with_the_line_of_the_labels(write: Write) -> None:
    message = refusal(path := write(TASK.replace("[World, Sports]", "[World, Sports, World]")))
    assert "'World' twice" in message
    assert message.startswith(f"{path}, line 6:")


def test_single_label_is_refused(write: Write) -> None:
    assert refusal(path := write(TASK.replace("[World, Sports]", "[World]"))).startswith(f"{path}, line 6: ")


def test_unknown_kind_suggests_the_nearest(write: Write) -> None:
    message = refusal(path := write(TASK.replace("kind: classification", "kind: clasification")))
    assert message.startswith(f"{path}, line 2: unknown kind 'clasification'")
    assert "'classification'" in message


def test_missing_kind_lists_the_kinds(write: Write) -> None:
    message = refusal(path := write(TASK.replace("kind: classification\n", "")))
    assert message.startswith(f"{path}, line 1: 'kind' is missing")
    assert "classification, code, generation, lm-eval, multiple_choice, safety" in message


@pytest.mark.parametrize("kind", ["[classification]", "{classification: 1}", "3", "yes"])
def test_kind_that_is_not_text_is_refused_with_its_line(write: Write, kind: str) -> None:
    message = refusal(path := write(TASK.replace("kind: classification", f"kind: {kind}")))
    assert message.startswith(f"{path}, line 2: unknown kind ")


def test_unknown_metric_lists_the_metrics_and_suggests_one(write: Write) -> None:
    message = refusal(path := write(TASK.replace("accuracy", "acuracy")))
    assert message.startswith(f"{path}, line 7: 'metric' cannot be 'acuracy'")
    assert "accuracy, f1_macro, matthews" in message
    assert "Did you mean 'accuracy'?" in message


def test_hub_source_without_revision_is_refused_with_the_line_of_the_source(write: Write) -> None:
    message = refusal(path := write(TASK.replace("local: agnews", "hub: fancyzhx/ag_news")))
    assert message.startswith(f"{path}, line 3: ")
    assert "'revision'" in message


def test_source_without_local_or_hub_is_refused(write: Write) -> None:
    message = refusal(path := write(TASK.replace("local: agnews", "config: main")))
    assert message.startswith(f"{path}, line 3: ")
    assert "'local'" in message
    assert "'hub'" in message


@pytest.mark.parametrize("name", ["AG", "-ag", "a b", "../a", "a" * 65])
def test_name_that_is_unsafe_in_a_path_is_refused(write: Write, name: str) -> None:
    assert refusal(path := write(TASK.replace("name: agnews", f"name: {name}"))).startswith(
        f"{path}, line 1: 'name' cannot be"
    )


def test_two_errors_give_one_line_that_counts_the_other(write: Write) -> None:
    message = refusal(write(TASK.replace("metric:", "metrc:") + "seed: -1\n"))
    assert message.endswith("(and 1 more)")
    assert "\n" not in message


def test_record_includes_every_default(write: Write) -> None:
    record = load_task(write(TASK)).to_record()
    assert set(record) == set(ClassificationSpec.model_fields) - ClassificationSpec.omitted_if_none
    assert record["source"] == {
        "local": "agnews",
        "hub": None,
        "config": None,
        "skip_invalid": 0,
        "revision": None,
        "unverified": False,
    }
    assert set(record["source"]) == set(Source.model_fields)
    assert record["train"] == {"split": "train", "source": None}
    assert record["eval"] == {"split": "test", "limit": None}
    assert (record["seed"], record["metric"], record["description"]) == (0, "accuracy", "")


@given(
    labels=st.lists(st.text().filter(lambda t: t and t == t.strip()), min_size=2, unique=True),
    seed=st.integers(0, 2**31 - 1),
    limit=st.none() | st.integers(1, 10**6),
    description=st.text(),
)
def test_classification_task_round_trips_through_its_json_record(
    labels: list[str], seed: int, limit: int | None, description: str
) -> None:
    task = ClassificationSpec.model_validate(
        {
            "name": "t",
            "kind": "classification",
            "source": {"hub": "a/b", "revision": "c"},
            "labels": labels,
            "seed": seed,
            "eval": {"limit": limit},
            "description": description,
        }
    )
    assert task_from_record(json.loads(json.dumps(task.to_record()))) == task


def test_generation_task_round_trips_through_its_json_record(write: Write) -> None:
    task = load_task(write(GENERATION))
    assert task_from_record(json.loads(json.dumps(task.to_record()))) == task


def test_declaration_is_immutable(write: Write) -> None:
    task = load_task(write(TASK))
    with pytest.raises(ValidationError, match="frozen"):
        task.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("eval: {fraction: 1}", "'eval.fraction'"),
        ("eval: {fraction: 0}", "'eval.fraction'"),
        ("eval: {fraction: 0.1, split: dev}", "eval.split 'dev' is not used"),
        ("eval: {fraction: 0.1}\ntrain: {source: {local: b}}", "'train.source' is not used"),
    ],
)
def test_unusable_eval_fraction_is_refused(write: Write, fields: str, message: str) -> None:
    assert message in refusal(write(f"{TASK}{fields}\n"))


def test_record_of_a_task_without_a_fraction_is_as_before_the_field_existed(write: Write) -> None:
    assert load_task(write(TASK)).to_record()["eval"] == {"split": "test", "limit": None}
    held_out = load_task(write(f"{TASK}eval: {{fraction: 0.1}}\n"))
    assert held_out.to_record()["eval"] == {"split": "test", "limit": None, "fraction": 0.1}
