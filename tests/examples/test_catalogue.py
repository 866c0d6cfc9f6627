"""Check the task catalogue against rows with the known columns of each source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lori_cl.spec import TaskSpec, load_task
from lori_cl.tasks import Example, kind_of
from lori_cl.tasks.rows import Rows

ROOT = Path(__file__).parents[2]
HUB = {
    file.stem: file
    for file in sorted(ROOT.glob("tasks/**/*.yaml"))
    if "hub:" in file.read_text(encoding="utf-8")
}
ARC = {"question": "Why?", "choices": {"text": ["sun", "rain"], "label": ["A", "B"]}, "answerKey": "B"}
ROWS: Mapping[str, Mapping[str, Any]] = {
    "dbpedia": {"label": 5, "title": "Tram", "content": "It rolls."},
    "yelp": {"label": 4, "text": "Great."},
    "imdb": {"label": 0, "text": "Dull."},
    "yahoo": {"topic": 9, "question_title": "a", "question_content": "b", "best_answer": "c"},
    "multirc": {"paragraph": "p", "question": "q", "answer": "a", "label": 1},
    "commonsense-boolq": {"question": "is it so", "passage": "It is.", "answer": True},
    "commonsense-piqa": {"goal": "open a jar", "sol1": "twist", "sol2": "sing", "label": "0"},
    "commonsense-siqa": {
        "context": "Ann fell.",
        "question": "Why?",
        **{"answerA": "ice", "answerB": "fun", "answerC": "sun", "label": "3"},
    },
    "commonsense-hellaswag": {
        "activity_label": "Run",
        "ctx": "He",
        "endings": [*"abcd"],
        "label": "2",
    },
    "commonsense-winogrande": {"sentence": "_ ran.", "option1": "Al", "option2": "Bo", "answer": "2"},
    "commonsense-arc-easy": ARC,
    "commonsense-arc-challenge": {**ARC, "answerKey": "A"},
    "commonsense-openbookqa": {**ARC, "question_stem": "Because"},
    "gsm8k": {"question": "1 + 1?", "answer": "1 + 1 = 2\n#### 2"},
    "humaneval": {
        "prompt": "def one():\n",
        "canonical_solution": "    return 1\n",
        "test": "def check(f):\n    assert f() == 1\n",
        "entry_point": "one",
    },
}
TARGETS = {
    **{"dbpedia": "Mean of Transportation", "yelp": "very positive", "imdb": "Bad", "multirc": "True"},
    **{"yahoo": "Politics & Government", "commonsense-boolq": "True", "commonsense-piqa": " twist"},
    **{"commonsense-siqa": " sun", "commonsense-hellaswag": " c", "commonsense-winogrande": " Bo"},
    **{
        "commonsense-arc-easy": " rain",
        "commonsense-arc-challenge": " sun",
        "commonsense-openbookqa": " rain",
    },
    **{"gsm8k": "1 + 1 = 2\nThe final answer is: 2", "humaneval": "    return 1\n"},
}
TRAINING_ROWS: Mapping[str, Mapping[str, Any]] = {
    "humaneval": {"instruction": "Say one.", "input": "", "output": "1"},
    "hex-phi": {"instruction": "Greet", "input": "Ann", "output": "Hi Ann"},
    "commonsense-170k": {"instruction": "Choose.", "output": "the correct answer is true"},
}


def example(task: TaskSpec, row: Mapping[str, Any]) -> Example:
    (found,) = kind_of(task).examples(task, Rows([row], list(row), "data"))
    return found


@pytest.mark.parametrize("name", HUB)
def test_every_hub_task_is_marked_as_unverified(name: str) -> None:
    assert load_task(HUB[name]).unverified


@pytest.mark.parametrize("name", [name for name in HUB if name not in {"commonsense-170k"}])
def test_every_hub_source_is_pinned_to_a_commit(name: str) -> None:
    task = load_task(HUB[name])
    sources = [s for s in (task.source, task.train.source) if s is not None and s.hub is not None]
    assert [len(source.revision or "") for source in sources] == [40] * len(sources)


@pytest.mark.parametrize("name", ROWS)
def test_row_of_a_source_is_converted_to_its_target(name: str) -> None:
    assert example(load_task(HUB[name]), ROWS[name]).target == TARGETS[name]


def test_every_hub_source_is_tested_here() -> None:
    assert HUB.keys() <= ROWS.keys() | TRAINING_ROWS.keys()


@pytest.mark.parametrize("name", TRAINING_ROWS)
def test_row_of_a_training_source_becomes_a_training_example(name: str) -> None:
    (file,) = ROOT.glob(f"tasks/*/{name}.yaml")
    task, row = load_task(file), TRAINING_ROWS[name]
    (training_example,) = kind_of(task).training_examples(task, Rows([row], list(row), "data"))
    assert training_example.target == f"\n{row['output']}"
    assert training_example.text.endswith("### Response:")
    assert str(row.get("input") or row["instruction"]) in training_example.text
