"""The public names, and what importing them costs."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

import lori_cl as cl

NAMES = {
    *(
        "Calibration",
        "Classification",
        "Code",
        "Curriculum",
        "Eval",
        "Gate",
        "Generation",
        "LoRI",
        "LoRIModel",
    ),
    *("LoriError", "Matrix", "Metrics", "MultipleChoice", "NullSpace", "Run", "Safety", "SequentialLoRA"),
    *("Train", "Workspace", "get_lori_model", "load_lori_model"),
}


def test_the_public_names_are_these() -> None:
    assert set(cl.__all__) == NAMES
    assert set(dir(cl)) >= NAMES
    assert all(getattr(cl, name) is not None for name in NAMES)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'lori_cl' has no attribute 'LORI'"):
        cl.LORI  # noqa: B018 (the access is the test)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert inspect.getdoc(getattr(cl, name))


def _modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nimport json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("code", ["import lori_cl", "import lori_cl as cl; cl.LoRI(rank=4); cl.Workspace"])
def test_import_and_settings_need_no_torch(code: str) -> None:
    found = _modules_after(code)
    heavy: Any = {"torch", "transformers", "peft", "datasets", "pandas", "sklearn"}
    assert not found & heavy


def test_import_loads_one_module_of_the_package() -> None:
    assert {name for name in _modules_after("import lori_cl") if name.startswith("lori_cl")} == {"lori_cl"}
