"""Tiny tasks and their data files."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lori_cl.spec import ClassificationSpec, CodeSpec, GenerationSpec, MultipleChoiceSpec, SafetySpec

Row = Mapping[str, Any]

ENDINGS = ["jsonl", "csv", "parquet"]


def classification(labels: Sequence[str] = ("negative", "positive"), **changes: Any) -> ClassificationSpec:
    """A classification task on the folder `data`."""
    fields = {"name": "sst2", "kind": "classification", "source": {"local": "data"}, "labels": list(labels)}
    return ClassificationSpec.model_validate({**fields, **changes})


def generation(**changes: Any) -> GenerationSpec:
    """A generation task on the folder `data` with columns q and a."""
    fields = {
        "name": "sums",
        "kind": "generation",
        "source": {"local": "data"},
        "prompt": "{{ q }}",
        "answer": "{{ a }}",
    }
    return GenerationSpec.model_validate({**fields, **changes})


def code(**changes: Any) -> CodeSpec:
    """A code task on the folder `data` with columns q, a and test."""
    fields = {
        "name": "snippets",
        "kind": "code",
        "source": {"local": "data"},
        "prompt": "{{ q }}",
        "answer": "{{ a }}",
        "program": "{{ q }}{{ completion }}\n{{ test }}",
    }
    return CodeSpec.model_validate({**fields, **changes})


def safety(**changes: Any) -> SafetySpec:
    """A safety task on the folder `data` with columns q, a and expect."""
    fields = {
        "name": "refusals",
        "kind": "safety",
        "source": {"local": "data"},
        "prompt": "{{ q }}",
        "answer": "{{ a }}",
        "expect": "{{ expect }}",
    }
    return SafetySpec.model_validate({**fields, **changes})


def multiple_choice(**changes: Any) -> MultipleChoiceSpec:
    """A multiple-choice task on the folder `data` with columns q, x, y and label."""
    fields = {
        "name": "piqa",
        "kind": "multiple_choice",
        "source": {"local": "data"},
        "prompt": "{{ q }}",
        "choices": ["{{ x }}", "{{ y }}"],
        "answer": "{{ label }}",
    }
    return MultipleChoiceSpec.model_validate({**fields, **changes})


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows in the format of the file extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        case ".csv":
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(list(rows)), path)
        case _:
            raise ValueError(path)
    return path


def write_bytes(path: Path, content: bytes) -> Path:
    """Write raw bytes to a file and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
