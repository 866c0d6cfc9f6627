from __future__ import annotations

import subprocess
import sys

SLOW = (
    "torch",
    "transformers",
    "peft",
    "datasets",
    "matplotlib",
    "scipy.stats",
    "alembic",
    "jinja2",
    "pydantic",
)


def test_importing_reports_imports_no_slow_library() -> None:
    program = f"import sys, lori_cl.reports; print([m for m in {SLOW} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
