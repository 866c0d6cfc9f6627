"""A report format: a LaTeX table with the metrics of every run and view."""

from collections.abc import Sequence

from lori_cl.reports import RunReport

METRICS = ("acc", "bwt", "forgetting")


def latex(reports: Sequence[RunReport]) -> bytes:
    """Render one row for each run and view; a metric without a value is a dash."""
    lines = [r"\begin{tabular}{llrrr}", _row("run", "view", *METRICS), r"\hline"]
    for report in reports:
        for view in report.views:
            values = {metric.name: metric.value for metric in view.metrics}
            numbers = [_percent(values.get(name)) for name in METRICS]
            lines.append(_row(report.run.name, view.name, *numbers))
    return "\n".join([*lines, r"\end{tabular}", ""]).encode()


def _row(*cells: str) -> str:
    escaped = [cell.replace("_", r"\_") for cell in cells]  # names contain no other special character
    return " & ".join(escaped) + r" \\"


def _percent(value: float | None) -> str:
    return "--" if value is None else f"{100 * value:.1f}"
