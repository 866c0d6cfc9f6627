"""Files to load, written into a folder of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
settings.load_profile("unhurried")

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
    """Put a text into a file and give its path."""

    def write(text: str) -> Path:
        path = tmp_path / "spec.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
