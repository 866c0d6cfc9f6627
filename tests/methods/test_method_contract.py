"""Every method of the package keeps the contract of `lori_cl.testing`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lori_cl.methods import METHODS
from lori_cl.testing import check_method

SETTINGS: Mapping[str, Mapping[str, Any]] = {"lori": {"masks": {"density": 0.2, "strategy": "random"}}}


@pytest.mark.parametrize("name", METHODS.built_in)
def test_method_keeps_the_contract(name: str, tmp_path: Path) -> None:
    check_method(name, tmp_path, **SETTINGS.get(name, {}))
