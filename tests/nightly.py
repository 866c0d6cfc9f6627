"""Marks for parameters whose slow trials run only in the nightly job."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def only_in_ci(kept: Collection[Any], values: Iterable[Any]) -> list[ParameterSet]:
    """Return one pytest parameter per value; all but the kept values run only in the nightly job."""
    return [pytest.param(value, marks=[] if value in kept else [pytest.mark.nightly]) for value in values]
