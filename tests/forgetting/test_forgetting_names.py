from __future__ import annotations

import subprocess
import sys

import lori_cl.forgetting as package


def test_public_names_are_pinned() -> None:
    assert package.__all__ == [
        "METRICS",
        "Cell",
        "Comparison",
        "ForgettingMatrix",
        "Metric",
        "MetricEntry",
        "PairedTest",
        "Source",
        "Spread",
        "Summary",
        "acc",
        "all_metrics",
        "average_anytime_accuracy",
        "bwt",
        "compare",
        "forgetting",
        "fwt",
        "intransigence",
        "learning_accuracy",
        "mcnemar_exact",
        "overall_performance",
        "paired_bootstrap",
        "paired_test",
        "retention",
        "single_task_gap",
        "spread",
        "standard_error",
        "summarise",
    ]


def test_every_public_name_exists() -> None:
    assert all(hasattr(package, name) for name in package.__all__)


def test_package_imports_neither_torch_nor_pandas_nor_scipy_stats() -> None:
    code = (
        "import sys, lori_cl.forgetting; print(sorted({'torch', 'pandas', 'scipy.stats'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
