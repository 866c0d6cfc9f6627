"""The result of a merge as text for the terminal, and as JSON values."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from lori_cl.reports.phrases import TESTS, listed, percent, points
from lori_cl.reports.plain_tables import add_row, plain_table, print_line
from lori_cl.serving.merge import MergeOutcome, merge_record
from lori_cl.serving.merge_request import MergeInput


def print_merge(outcome: MergeOutcome, console: Console) -> None:
    """Print the scores of each task, the settings and folder of the merge, and notes."""
    if outcome.scores:
        _print_scores(outcome, console)
    merged = " + ".join(
        f"{weight:g} {each.name}" for weight, each in zip(outcome.weights, outcome.inputs, strict=True)
    )
    heads = f", with {listed(outcome.heads)}" if outcome.heads else ""
    print_line(
        console, f"{outcome.request.method}: {merged}, rank {outcome.rank}, in {outcome.request.out}{heads}"
    )
    for note in notes(outcome):
        print_line(console, note)


def _print_scores(outcome: MergeOutcome, console: Console) -> None:
    titles = ["task", "metric", "own adapter", "merged", "difference", "n", "p"]
    table = plain_table(titles, numbers=5)
    for each, score in zip(outcome.inputs, outcome.scores, strict=True):
        difference = points(score.merged - score.own)
        numbers = (percent(score.own), percent(score.merged), difference, f"{score.test.n:,}")
        add_row(table, each.name, score.metric, *numbers, _p(score.test.p_value))
    console.print(table)
    console.print()


def notes(outcome: MergeOutcome) -> list[str]:
    """Return notes on how to read the result of a merge, one line each."""
    lines = []
    if outcome.scores:
        tests = " and ".join(dict.fromkeys(TESTS[score.test.name] for score in outcome.scores))
        lines.append(
            "Each task was scored on its own eval set, with its own head if it has one: with its adapter as "
            f"trained, and with the merged adapter. Scores are in percent, differences in points; p: {tests} "
            "over the answers, not corrected for multiple tasks."
        )
    if outcome.truncation_error is not None:
        lines.append(
            f"The merged ΔW was truncated to rank {outcome.rank}: relative Frobenius error "
            f"{outcome.truncation_error:.2%}."
        )
    lines += _note_on_earlier_tasks(
        "own cells were merged, without the earlier cells that they were trained on top of; "
        "adapter.composition: isolated trains adapters that do not depend on each other",
        [each for each in outcome.inputs if each.trained_on_earlier and not each.contains_earlier],
    )
    lines += _note_on_earlier_tasks(
        "adapter contains the earlier tasks too, because every stage continues to train the whole adapter",
        [each for each in outcome.inputs if each.contains_earlier],
    )
    return lines


def _note_on_earlier_tasks(what: str, inputs: list[MergeInput]) -> list[str]:
    whose = "its" if len(inputs) == 1 else "each one's"
    return [f"{', '.join(each.name for each in inputs)}: {whose} {what}."] if inputs else []


def merge_outcome_record(outcome: MergeOutcome) -> dict[str, Any]:
    """Return the result of a merge as JSON values; scores are fractions."""
    return {
        "out": str(outcome.request.out),
        **merge_record(outcome.request, outcome.inputs, outcome.weights),
        "merged_rank": outcome.rank,
        "truncation_error": outcome.truncation_error,
        "heads": list(outcome.heads),
        "scores": [
            {
                "task": each.name,
                "metric": score.metric,
                "own": score.own,
                "merged": score.merged,
                "difference": score.merged - score.own,
                "n": score.test.n,
                "test": score.test.name,
                "p_value": score.test.p_value,
            }
            for each, score in zip(outcome.inputs, outcome.scores, strict=False)
        ],
        "notes": notes(outcome),
    }


def _p(p_value: float | None) -> str:
    if p_value is None:
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
