"""Fixtures that write spec files to load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)  # tests must not fail on a busy machine
settings.load_profile("no-deadline")

TASK = """\
name: agnews
kind: classification
source:
  local: agnews
columns: {text: text, label: label}
labels: [World, Sports]
metric: accuracy
"""

CURRICULUM = """\
name: five-tasks
model: {path: some/model}
method: lori
tasks:
  - sst2
  - agnews
train:
  epochs: 2
masks: {strategy: magnitude}
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a text to a file and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "spec.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
