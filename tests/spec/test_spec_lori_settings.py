"""Validation and error messages of the projection, mask and growth settings."""

from __future__ import annotations

import pytest

from lori_cl.errors import SpecError
from lori_cl.spec import AdapterSpec, CurriculumSpec, load_curriculum, load_task
from lori_cl.spec.method_settings import SECTIONS, LoRI
from lori_cl.spec.peft_fields import PEFT_FIELDS

from .conftest import CURRICULUM, TASK, Write


def refusal(write: Write, *settings: str) -> str:
    with pytest.raises(SpecError) as caught:
        load_curriculum(write(CURRICULUM), settings)
    return str(caught.value)


def test_carrying_b_on_requires_overlap(write: Write) -> None:
    message = refusal(write, "masks.freeze=false")
    assert "'masks.freeze: false'" in message
    assert "set masks.overlap: allow" in message


@pytest.mark.parametrize(
    "conflict",
    [
        "adapter.projection=per-task",
        "adapter.projection=orthogonal",
        "adapter.projection=null-space",
        "adapter.composition=isolated",
    ],
)
def test_carrying_b_on_requires_a_shared_a_and_stacked_tasks(write: Write, conflict: str) -> None:
    message = refusal(write, "masks.freeze=false", "masks.overlap=allow", conflict)
    assert "adapter.projection: shared and adapter.composition: stacked" in message


def test_even_budget_requires_disjoint_masks(write: Write) -> None:
    message = refusal(write, "masks.budget=even", "masks.overlap=allow")
    assert "'masks.budget: even'" in message
    assert "set masks.budget: density" in message


@pytest.mark.parametrize("useless", ["masks.budget=even", "masks.overlap=allow"])
def test_growth_that_would_never_happen_is_refused(write: Write, useless: str) -> None:
    assert "'adapter.grow'" in refusal(write, "adapter.grow=4", useless)


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
def test_value_out_of_range_or_of_wrong_type_is_reported_with_its_place(write: Write, setting: str) -> None:
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
def test_misspelt_setting_error_suggests_the_nearest(write: Write, setting: str, near: str) -> None:
    assert f"Did you mean '{near}'?" in refusal(write, setting)


@pytest.mark.parametrize("energy", [1e-9, 0.5, 1.0])
def test_energy_may_be_1(energy: float) -> None:
    adapter = AdapterSpec.model_validate({"projection": "null-space", "null_space": {"energy": energy}})
    assert adapter.null_space.energy == energy


def test_density_with_an_even_budget_is_refused(write: Write) -> None:
    message = refusal(write, "masks.budget=even", "masks.density=0.3")
    assert "'masks.density: 0.3' would be unused" in message


def test_null_space_settings_without_null_space_are_refused(write: Write) -> None:
    message = refusal(write, "adapter.null_space.energy=0.9")
    assert "only used with adapter.projection: null-space, and adapter.projection is shared" in message


NEW_IN_ADAPTER = ("composition", "grow", "kept_in", "null_space")
NEW_IN_MASKS = ("budget", "granularity", "overlap", "freeze")


def test_record_without_these_settings_keeps_its_meaning(write: Write) -> None:
    record = load_curriculum(write(CURRICULUM)).to_record()
    old = {
        **record,
        "adapter": {key: value for key, value in record["adapter"].items() if key not in NEW_IN_ADAPTER},
        "masks": {key: value for key, value in record["masks"].items() if key not in NEW_IN_MASKS},
    }
    loaded = CurriculumSpec.model_validate(old)
    assert loaded.to_record() == record
    assert (loaded.adapter.projection, loaded.adapter.composition, loaded.adapter.grow) == (
        "shared",
        "stacked",
        None,
    )
    masks = loaded.masks
    assert (masks.budget, masks.granularity, masks.overlap, masks.freeze) == (
        "density",
        "model",
        "forbid",
        True,
    )


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("r", "PEFT's 'r' is 'adapter.rank' here"),
        ("lora_alpha", "PEFT's 'lora_alpha' is 'adapter.alpha' here"),
        ("target_modules", "PEFT's 'target_modules' is 'adapter.targets' here"),
        ("lora_dropout", "with a frozen A it makes autograd keep every input"),
        ("use_rslora", "set adapter.alpha to lora_alpha · √rank"),
        ("use_dora", "DoRA is not supported"),
        ("bias", "as with PEFT's bias: none"),
        ("task_type", "the 'kind' of the tasks"),
    ],
)
def test_field_of_peft_is_refused_with_its_name_here_or_the_reason(
    write: Write, field: str, said: str
) -> None:
    message = refusal(write, f"adapter.{field}=1")
    assert message.startswith(f"--set adapter.{field}=1: '{field}' is not a field of 'adapter': ")
    assert said in message
    with pytest.raises(SpecError, match=f"^LoRI: '{field}' is not a field of a method: "):
        LoRI(**{field: 1})


def test_names_of_our_fields_are_no_fields_of_peft() -> None:
    ours = {*CurriculumSpec.model_fields, *(name for each in SECTIONS.values() for name in each.model_fields)}
    assert not ours & PEFT_FIELDS.keys()


def test_field_of_peft_in_a_task_file_is_an_ordinary_unknown_field(write: Write) -> None:
    with pytest.raises(SpecError, match=r"'task_type' is not a field of a task\. "):
        load_task(write(TASK + "task_type: CAUSAL_LM\n"))
