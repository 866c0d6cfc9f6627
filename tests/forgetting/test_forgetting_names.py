from __future__ import annotations

import subprocess
import sys

import lori_cl.forgetting as room


def test_the_public_names_are_these() -> None:
    assert room.__all__ == [
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


def test_every_public_name_is_there() -> None:
    assert all(hasattr(room, name) for name in room.__all__)


def test_the_room_is_imported_without_torch_pandas_or_the_slow_scipy_stats() -> None:
    code = (
        "import sys, lori_cl.forgetting; print(sorted({'torch', 'pandas', 'scipy.stats'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
