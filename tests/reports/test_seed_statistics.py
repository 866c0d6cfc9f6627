"""Reports of runs that differ only in their seed or task order."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

import pytest

from lori_cl.reports import FORMATS, RunReport, gather, print_report, seed_statistics, to_records

from .conftest import Recorder, Rendered, Rows

LORI: Sequence[Rows] = (
    ((0.80, None), (0.70, 0.90)),  # acc 0.800, bwt −0.1
    ((0.80, None), (0.80, 0.90)),  # acc 0.850, bwt 0
    ((0.90, None), (0.70, 0.95)),  # acc 0.825, bwt −0.2
)
SEQUENTIAL: Sequence[Rows] = (
    ((0.80, None), (0.50, 0.90)),  # acc 0.700, bwt −0.3
    ((0.80, None), (0.50, 0.90)),  # acc 0.700, bwt −0.3
    ((0.90, None), (0.30, 0.95)),  # acc 0.625, bwt −0.6
)
BASE = (0.5, 0.5)


def over_seeds(recorder: Recorder, method: str, runs: Sequence[Rows], begin: int = 0) -> list[str]:
    return [
        recorder.run(f"{method}-{seed}", ("a", "b"), rows, BASE, method, ("current",), seed=seed)
        for seed, rows in enumerate(runs, start=begin)
    ]


def reports(recorder: Recorder, *names: str) -> list[RunReport]:
    return [gather(recorder.registry, name) for name in names]


def test_mean_and_std_over_the_seeds_are_those_computed_by_hand(recorder: Recorder) -> None:
    (group,) = seed_statistics(reports(recorder, *over_seeds(recorder, "lori", LORI))).groups
    assert (group.name, group.runs, group.seeds) == ("lori", ("lori-0", "lori-1", "lori-2"), (0, 1, 2))
    acc, bwt = group.views["current"]["acc"], group.views["current"]["bwt"]
    assert acc.mean == pytest.approx(0.825)
    assert acc.seed_std == pytest.approx(0.025)
    assert bwt.mean == pytest.approx(-0.1)
    assert bwt.seed_std == pytest.approx(0.1)
    assert (acc.n, acc.orders, acc.order_std) == (3, 1, None)


def test_two_methods_are_compared_in_pairs_of_equal_seeds(recorder: Recorder) -> None:
    names = [*over_seeds(recorder, "lori", LORI), *over_seeds(recorder, "sequential-lora", SEQUENTIAL)]
    for given in (names, [*names[:3], *reversed(names[3:])]):  # pairs are found by seed, not by position
        (compared,) = seed_statistics(reports(recorder, *given)).comparisons
        assert (compared.a, compared.b) == ("lori", "sequential-lora")
        acc = compared.views["current"]["acc"]  # differences 0.10, 0.15 and 0.20: t = 3 √3
        assert acc.difference == pytest.approx(0.15)
        assert acc.t_p_value == pytest.approx(1 - math.sqrt(27 / 29))  # two degrees of freedom
        assert acc.wilcoxon_p_value == pytest.approx(0.25)  # 2 of the 8 sign patterns
        assert acc.n == 3
        assert compared.views["current"]["bwt"].difference == pytest.approx(0.3)


def test_only_common_seeds_are_compared(recorder: Recorder) -> None:
    names = [*over_seeds(recorder, "lori", LORI), *over_seeds(recorder, "sequential-lora", SEQUENTIAL, 1)]
    (compared,) = seed_statistics(reports(recorder, *names)).comparisons
    acc = compared.views["current"]["acc"]  # seeds 1 and 2: 0.850 − 0.700, 0.825 − 0.700
    assert acc.n == 2
    assert acc.difference == pytest.approx((0.15 + 0.125) / 2)


def test_seeds_and_task_orders_have_their_own_spread(recorder: Recorder) -> None:
    scores = {("a", "b"): (0.80, 0.85), ("b", "a"): (0.70, 0.75)}
    names = [
        recorder.run("-".join((*order, str(seed))), order, ((s, None), (s, s)), BASE, seed=seed)
        for order, of_seeds in scores.items()
        for seed, s in enumerate(of_seeds)
    ]
    (group,) = seed_statistics(reports(recorder, *names)).groups
    acc = group.views["current"]["acc"]
    assert (acc.orders, acc.n) == (2, 4)
    assert acc.mean == pytest.approx(0.775)
    assert acc.seed_std == pytest.approx(math.sqrt(0.00125))  # both orders have this variance
    assert acc.order_std == pytest.approx(math.sqrt(0.005))  # of the means 0.825 and 0.725


def test_unfinished_runs_repeated_seeds_and_other_settings_are_left_out(recorder: Recorder) -> None:
    names = over_seeds(recorder, "lori", LORI)
    names.append(recorder.run("pending", ("a", "b"), LORI[0][:1], BASE, views=("current",), seed=3))
    names.append(recorder.run("again", ("a", "b"), LORI[1], BASE, views=("current",), seed=0))
    names.append(recorder.run("more", ("a", "b", "c"), (), (0.5, 0.5, 0.5), views=("current",), seed=4))
    names.append(recorder.run("other", ("a", "c"), LORI[1], BASE, views=("current",), seed=5))
    (group,) = seed_statistics(reports(recorder, *names)).groups
    assert group.runs == ("lori-0", "lori-1", "lori-2")
    assert seed_statistics(reports(recorder, "lori-0", "other")).groups == ()


def test_groups_of_one_method_are_named_by_their_first_run(recorder: Recorder) -> None:
    names = over_seeds(recorder, "lori", LORI)
    names += [
        recorder.run(f"other-{seed}", ("a", "c"), rows, BASE, views=("current",), seed=seed)
        for seed, rows in enumerate(LORI)
    ]
    statistics = seed_statistics(reports(recorder, *names))
    assert [group.name for group in statistics.groups] == ["lori (lori-0, …)", "lori (other-0, …)"]
    assert statistics.comparisons == ()  # other tasks


def test_the_terminal_shows_spread_and_comparison(recorder: Recorder, rendered: Rendered) -> None:
    names = [*over_seeds(recorder, "lori", LORI), *over_seeds(recorder, "sequential-lora", SEQUENTIAL)]
    text = rendered(print_report, reports(recorder, *names))
    assert "Mean ± standard deviation, view current" in text
    assert re.search(r"Final average \(acc\), % +82\.5 ± 2\.5 +67\.5 ± 4\.3", text)
    assert re.search(r"Backward transfer \(bwt\), points +−10\.0 ± 10\.0 +−40\.0 ± 17\.3", text)
    assert "lori − sequential-lora, paired by seed and task order, view current" in text
    assert re.search(r"Final average \(acc\), points +\+15\.0 +0\.035 +0\.250 +3", text)
    assert "lori: mean of lori-0 (seed 0), lori-1 (seed 1), lori-2 (seed 2)" in text


@pytest.mark.parametrize("name", ["html", "md"])
def test_a_page_shows_spread_and_comparison(recorder: Recorder, name: str) -> None:
    names = [*over_seeds(recorder, "lori", LORI), *over_seeds(recorder, "sequential-lora", SEQUENTIAL)]
    page = FORMATS[name](reports(recorder, *names)).decode()
    assert "Mean ± standard deviation, view current" in page
    assert all(value in page for value in ("82.5 ± 2.5", "−10.0 ± 10.0", "+15.0", "0.035", "0.250"))
    alone = FORMATS[name](reports(recorder, names[0])).decode()
    assert "±" not in alone.replace("± ", "", alone.count("(standard error)"))


def test_json_has_the_statistics_of_each_runs_group(recorder: Recorder) -> None:
    names = [*over_seeds(recorder, "lori", LORI), *over_seeds(recorder, "sequential-lora", SEQUENTIAL)]
    found = reports(recorder, *names)
    records = json.loads(FORMATS["json"](found))
    assert records == json.loads(json.dumps(to_records(found)))
    statistics = records[0]["seed_statistics"]
    assert statistics == records[2]["seed_statistics"] != records[3]["seed_statistics"]
    assert (statistics["name"], statistics["seeds"]) == ("lori", [0, 1, 2])
    acc = statistics["views"]["current"]["acc"]
    assert acc["mean"] == pytest.approx(0.825)
    assert acc == {**acc, "order_std": None, "orders": 1, "n": 3}
    (compared,) = statistics["comparisons"]
    assert (compared["a"], compared["b"]) == ("lori", "sequential-lora")
    assert compared["views"]["current"]["acc"]["difference"] == pytest.approx(0.15)


def test_a_report_of_one_run_or_of_unlike_runs_has_no_statistics(
    recorder: Recorder, rendered: Rendered
) -> None:
    lori, *_ = over_seeds(recorder, "lori", LORI[:1])
    other, *_ = over_seeds(recorder, "sequential-lora", SEQUENTIAL[:1])
    for names in ([lori], [lori, other]):
        assert "standard deviation" not in rendered(print_report, reports(recorder, *names))
        assert all("seed_statistics" not in record for record in to_records(reports(recorder, *names)))
