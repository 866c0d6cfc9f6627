"""`magnitude` masks calibrate for a tenth of a stage in a new run, and as long as recorded in an old one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from lori_cl.registry import Run
from lori_cl.spec import MasksSpec

TrainRun = Callable[..., Run]
TRAIN = {"epochs": 5, "batch_size": 8, "lr": 0.01, "max_length": 16}  # 10 steps of 16 examples
MAGNITUDE = {"strategy": "magnitude", "density": 0.1}


@dataclass
class BarSizes:
    """Record the units of every progress bar, by title."""

    found: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        self.found[title] = total
        yield lambda _: None

    @property
    def calibrations(self) -> list[int]:
        return [total for title, total in self.found.items() if title.endswith(": calibrating")]


def masks(**calibration: Any) -> dict[str, Any]:
    return {**MAGNITUDE, "calibration": calibration}


def recorded(run: Run) -> Any:
    return run.curriculum["masks"]["calibration"].get("fraction")


def test_new_run_calibrates_for_a_tenth_of_the_stage_and_records_it(train_run: TrainRun) -> None:
    bars = BarSizes()
    run = train_run("a", train=TRAIN, masks=MAGNITUDE, progress=bars)
    assert (bars.calibrations, recorded(run)) == ([1], 0.1)


def test_whole_calibration_equals_one_of_as_many_epochs_and_is_recorded_as_in_earlier_versions(
    train_run: TrainRun,
) -> None:
    bars = BarSizes()
    by_fraction = train_run("a", name="fraction", train=TRAIN, masks=masks(fraction=1), progress=bars)
    by_epochs = train_run("a", name="epochs", train=TRAIN, masks=masks(epochs=5))
    assert bars.calibrations == [10]
    assert recorded(by_fraction) is None
    assert by_fraction.stages[0].mask.digest == by_epochs.stages[0].mask.digest  # type: ignore[union-attr]


def test_run_without_a_recorded_fraction_keeps_its_whole_calibration(train_run: TrainRun) -> None:
    train_run("a", train=TRAIN, masks=masks(fraction=1))
    bars = BarSizes()
    run = train_run("a", "b", train=TRAIN, masks=MAGNITUDE, progress=bars)
    assert bars.calibrations == [10]
    assert len(run.stages) == 2


@pytest.mark.nightly
def test_run_with_a_recorded_fraction_keeps_it(train_run: TrainRun) -> None:
    train_run("a", train=TRAIN, masks=masks(fraction=0.5))
    bars = BarSizes()
    train_run("a", "b", train=TRAIN, masks=MAGNITUDE, progress=bars)
    assert bars.calibrations == [5]


@pytest.mark.parametrize("strategy", ["random", "gradient"])
def test_fraction_is_refused_without_a_training_to_shorten(strategy: str) -> None:
    with pytest.raises(ValidationError, match=r"is only used with masks\.strategy: magnitude"):
        MasksSpec.model_validate({"strategy": strategy, "calibration": {"fraction": 0.5}})


def test_two_lengths_are_refused() -> None:
    with pytest.raises(ValidationError, match="has both 'epochs' and 'fraction'"):
        MasksSpec.model_validate({"calibration": {"epochs": 1, "fraction": 0.5}})
