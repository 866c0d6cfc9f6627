"""A merge in the terminal, and as JSON values."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from lori_cl.reports.plain import add_row, plain_table, say
from lori_cl.reports.wording import TESTS, listed, percent, points
from lori_cl.serving.merge import MergeOutcome, merge_record
from lori_cl.serving.merge_request import Choice


def print_merge(outcome: MergeOutcome, console: Console) -> None:
    """What was merged and where it is, what each task lost, and what to know about it."""
    if outcome.scores:
        _print_scores(outcome, console)
    merged = " + ".join(
        f"{weight:g} {choice.shown}" for weight, choice in zip(outcome.weights, outcome.choices, strict=True)
    )
    beside = f", with {listed(outcome.heads)}" if outcome.heads else ""
    say(console, f"{outcome.request.method}: {merged}, rank {outcome.rank}, in {outcome.request.out}{beside}")
    for note in notes(outcome):
        say(console, note)


def _print_scores(outcome: MergeOutcome, console: Console) -> None:
    titles = ["task", "metric", "own adapter", "merged", "difference", "n", "p"]
    table = plain_table(titles, numbers=5)
    for choice, score in zip(outcome.choices, outcome.scores, strict=True):
        difference = points(score.merged - score.own)
        numbers = (percent(score.own), percent(score.merged), difference, f"{score.test.n:,}")
        add_row(table, choice.shown, score.metric, *numbers, _p(score.test.p_value))
    console.print(table)
    console.print()


def notes(outcome: MergeOutcome) -> list[str]:
    """What a reader must know of this merge, one line a matter."""
    told = []
    if outcome.scores:
        tests = " and ".join(dict.fromkeys(TESTS[score.test.name] for score in outcome.scores))
        told.append(
            "Each task was scored on its own eval set, under its own head where it has one, by its adapter "
            f"as trained and by the merged one. Scores are percent, differences points; p: {tests} over the "
            "answers, not corrected for several tasks."
        )
    if outcome.truncation_error is not None:
        told.append(
            f"The merged ΔW was cut to rank {outcome.rank}: relative Frobenius error "
            f"{outcome.truncation_error:.2%}."
        )
    told += _shared_with_earlier(
        "own cells alone were merged, without the earlier ones that it was trained on top of; "
        "adapter.composition: isolated trains adapters that stand alone",
        [each for each in outcome.choices if each.carries_earlier and not each.holds_earlier],
    )
    told += _shared_with_earlier(
        "adapter holds the tasks before it too, since every stage trains the whole adapter on",
        [each for each in outcome.choices if each.holds_earlier],
    )
    return told


def _shared_with_earlier(what: str, choices: list[Choice]) -> list[str]:
    whose = "its" if len(choices) == 1 else "each one's"
    return [f"{', '.join(each.shown for each in choices)}: {whose} {what}."] if choices else []


def merge_outcome_record(outcome: MergeOutcome) -> dict[str, Any]:
    """A merge as JSON values; scores are fractions."""
    return {
        "out": str(outcome.request.out),
        **merge_record(outcome.request, outcome.choices, outcome.weights),
        "merged_rank": outcome.rank,
        "truncation_error": outcome.truncation_error,
        "heads": list(outcome.heads),
        "scores": [
            {
                "task": choice.shown,
                "metric": score.metric,
                "own": score.own,
                "merged": score.merged,
                "difference": score.merged - score.own,
                "n": score.test.n,
                "test": score.test.name,
                "p_value": score.test.p_value,
            }
            for choice, score in zip(outcome.choices, outcome.scores, strict=False)
        ],
        "notes": notes(outcome),
    }


def _p(p_value: float | None) -> str:
    if p_value is None:
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
