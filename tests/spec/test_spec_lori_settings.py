"""Settings of projections, masks and growth: what is refused, and in which words."""

from __future__ import annotations

import pytest

from lori_cl.errors import SpecError
from lori_cl.spec import AdapterSpec, CurriculumSpec, load_curriculum

from .conftest import CURRICULUM, Write


def refusal(write: Write, *settings: str) -> str:
    with pytest.raises(SpecError) as caught:
        load_curriculum(write(CURRICULUM), settings)
    return str(caught.value)


def test_carrying_b_on_asks_for_overlap(write: Write) -> None:
    message = refusal(write, "masks.freeze=false")
    assert "'masks.freeze: false'" in message
    assert "set masks.overlap: allow" in message


@pytest.mark.parametrize(
    "apart",
    [
        "adapter.projection=per-task",
        "adapter.projection=orthogonal",
        "adapter.projection=null-space",
        "adapter.composition=isolated",
    ],
)
def test_carrying_b_on_asks_for_one_a_and_tasks_that_are_stacked(write: Write, apart: str) -> None:
    message = refusal(write, "masks.freeze=false", "masks.overlap=allow", apart)
    assert "adapter.projection: shared and adapter.composition: stacked" in message


def test_an_even_budget_asks_for_masks_that_keep_apart(write: Write) -> None:
    message = refusal(write, "masks.budget=even", "masks.overlap=allow")
    assert "'masks.budget: even'" in message
    assert "set masks.budget: density" in message


@pytest.mark.parametrize("never", ["masks.budget=even", "masks.overlap=allow"])
def test_an_adapter_that_would_never_grow_is_not_told_to(write: Write, never: str) -> None:
    assert "'adapter.grow'" in refusal(write, "adapter.grow=4", never)


@pytest.mark.parametrize(
    "setting",
    [
        "masks.density=0",
        "masks.density=-0.1",
        "masks.density=1.01",
        "masks.density=yes",
        "masks.overlap=yes",
        "masks.granularity=head",
        "masks.budget=half",
        "masks.freeze=sometimes",
        "masks.calibration.epochs=0",
        "adapter.grow=0",
        "adapter.grow=-1",
        "adapter.grow=1.5",
        "adapter.projection=task",
        "adapter.composition=alone",
        "adapter.null_space.energy=0",
        "adapter.null_space.energy=-0.5",
        "adapter.null_space.energy=1.5",
        "adapter.null_space.max_directions=0",
        "adapter.null_space.max_directions=two",
        "adapter.null_space.examples=0",
        "adapter.null_space.min_free=-1",
    ],
)
def test_a_value_out_of_range_or_of_another_type_is_named_with_its_place(write: Write, setting: str) -> None:
    place, _, _ = setting.partition("=")
    message = refusal(write, setting)
    assert message.startswith(f"--set {setting}: '{place}'")


@pytest.mark.parametrize(
    ("setting", "near"),
    [
        ("masks.granularty=layer", "granularity"),
        ("adapter.composition_=isolated", "composition"),
        ("adapter.null_space.enery=0.9", "energy"),
    ],
)
def test_a_misspelt_setting_is_told_the_nearest(write: Write, setting: str, near: str) -> None:
    assert f"Did you mean '{near}'?" in refusal(write, setting)


@pytest.mark.parametrize("energy", [1e-9, 0.5, 1.0])
def test_the_energy_may_be_all_of_it(energy: float) -> None:
    adapter = AdapterSpec.model_validate({"projection": "null-space", "null_space": {"energy": energy}})
    assert adapter.null_space.energy == energy


def test_a_density_beside_an_even_budget_is_refused(write: Write) -> None:
    message = refusal(write, "masks.budget=even", "masks.density=0.3")
    assert "'masks.density: 0.3' would count for nothing" in message


def test_null_space_settings_without_null_space_are_refused(write: Write) -> None:
    message = refusal(write, "adapter.null_space.energy=0.9")
    assert "read by adapter.projection: null-space alone, and it is shared" in message


NEW_IN_ADAPTER = ("composition", "grow", "kept_in", "null_space")
NEW_IN_MASKS = ("budget", "granularity", "overlap", "freeze")


def test_a_record_from_before_these_settings_means_what_it_meant(write: Write) -> None:
    whole = load_curriculum(write(CURRICULUM)).to_record()
    old = {
        **whole,
        "adapter": {key: value for key, value in whole["adapter"].items() if key not in NEW_IN_ADAPTER},
        "masks": {key: value for key, value in whole["masks"].items() if key not in NEW_IN_MASKS},
    }
    opened = CurriculumSpec.model_validate(old)
    assert opened.to_record() == whole
    assert (opened.adapter.projection, opened.adapter.composition, opened.adapter.grow) == (
        "shared",
        "stacked",
        None,
    )
    masks = opened.masks
    assert (masks.budget, masks.granularity, masks.overlap, masks.freeze) == (
        "density",
        "model",
        "forbid",
        True,
    )
