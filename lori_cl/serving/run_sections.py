"""The sections of a model card about its run: the forgetting matrix and the lineage."""

from __future__ import annotations

from lori_cl.evaluation import LoadedRun
from lori_cl.reports import gather
from lori_cl.reports.formats.markdown import lineage_lines, matrix_lines

EXPLANATION = """\
Rows are stages, columns are tasks. A cell is the score in %, with the change since the task was trained in
parentheses; `=` marks a cached score, `~` a score on a sample of the examples. In the view `as_trained`, each
task is answered with its own adapter. In `current`, it is answered with everything trained so far."""


def run_sections(loaded: LoadedRun) -> str:
    """Return the sections as Markdown."""
    with loaded.workspace.read() as registry:
        report = gather(registry, loaded.run.name)
    lines = ["", "## Forgetting matrix", "", EXPLANATION, ""]
    for view in report.views:
        lines += [f"### View {view.name}", "", *matrix_lines(view)]
    return "\n".join([*lines, "## Lineage", "", *lineage_lines(report.run)])
