"""The forgetting matrix, its metrics, and significance tests."""

from lori_cl.forgetting.formula import Metric
from lori_cl.forgetting.matrix import Cell, ForgettingMatrix, Source
from lori_cl.forgetting.metrics import (
    METRICS,
    MetricEntry,
    acc,
    all_metrics,
    average_anytime_accuracy,
    bwt,
    forgetting,
    fwt,
    intransigence,
    learning_accuracy,
    overall_performance,
    retention,
    single_task_gap,
)
from lori_cl.forgetting.seeds import Comparison, Spread, Summary, compare, spread, summarise
from lori_cl.forgetting.significance import (
    PairedTest,
    mcnemar_exact,
    paired_bootstrap,
    paired_test,
    standard_error,
)

__all__ = [
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
