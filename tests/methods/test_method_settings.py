"""A setting that the method does not read is refused by name, before anything is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lori_cl.errors import InputError, SpecError
from lori_cl.methods import METHODS, check_settings
from lori_cl.registry import Run, Workspace
from lori_cl.spec import CurriculumSpec
from lori_cl.spec.method_settings import LoRI, SequentialLoRA


def curriculum(**fields: Any) -> CurriculumSpec:
    return CurriculumSpec.model_validate({"name": "c", "model": {"path": "m"}, "tasks": ["a"], **fields})


UNREAD = {
    "adapter.projection": {"adapter": {"projection": "null-space"}},
    "adapter.null_space.energy": {"adapter": {"projection": "null-space", "null_space": {"energy": 0.5}}},
    "adapter.grow": {"adapter": {"grow": 4}},
    "masks.density": {"masks": {"density": 0.3}},
    "masks.calibration.epochs": {"masks": {"calibration": {"epochs": 2}}},
}


@pytest.mark.parametrize(("field", "fields"), UNREAD.items(), ids=UNREAD.keys())
def test_unread_setting_is_refused_by_name(field: str, fields: dict[str, Any]) -> None:
    spec = curriculum(method="sequential-lora", **fields)
    with pytest.raises(SpecError, match=rf"method 'sequential-lora' does not read .*{field} \("):
        check_settings(spec, METHODS.find(spec.method))
    lori = curriculum(method="lori", **fields)
    check_settings(lori, METHODS.find("lori"))


def test_setting_of_another_method_is_refused() -> None:
    spec = curriculum(settings={"strength": 0.1})
    with pytest.raises(SpecError, match="LoRI: 'strength' is not a field of a method"):
        check_settings(spec, METHODS.find("lori"))


def test_run_with_an_unread_setting_stores_nothing(
    train_run: Callable[..., Run], workspace: Workspace
) -> None:
    with pytest.raises(SpecError, match=r"does not read masks\.density \(0\.3\); remove it"):
        train_run("a", method="sequential-lora", masks={"density": 0.3})
    with workspace.read() as registry:
        assert registry.runs() == []


def test_recorded_run_with_an_unread_setting_still_resumes(
    train_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions ignored such settings; their runs can still be extended."""
    with monkeypatch.context() as earlier:
        earlier.setattr("lori_cl.training.resume_checks.check_settings", lambda *_: None)
        train_run("a", method="sequential-lora", masks={"density": 0.3})
    run = train_run("a", "b", method="sequential-lora", masks={"density": 0.3})
    assert [stage.task for stage in run.stages] == ["a", "b"]


def test_settings_become_the_sections_of_a_curriculum() -> None:
    class Penalty(SequentialLoRA):
        method = "penalty"
        strength: float = 1.0

    sections = Penalty(rank=8, strength=0.5).sections()
    assert sections["settings"] == {"strength": 0.5}
    assert sections["adapter"].rank == 8
    made = curriculum(method="penalty", **sections)
    assert Penalty.of(made) == Penalty(rank=8, alpha=64.0, targets="all-linear", strength=0.5)
    assert Penalty.reads() == SequentialLoRA.reads() | {"settings.strength"}


def test_empty_settings_leave_a_curriculum_record_as_it_was() -> None:
    assert "settings" not in curriculum().to_record()
    assert curriculum(settings={"x": 1}).to_record()["settings"] == {"x": 1}


def test_lori_reads_every_field_of_adapter_and_masks() -> None:
    spec = curriculum()
    assert LoRI.reads() == {
        *(f"adapter.{field}" for field in type(spec.adapter).model_fields),
        *(f"masks.{field}" for field in type(spec.masks).model_fields),
    }


def test_unknown_method_is_named_with_what_exists() -> None:
    with pytest.raises(InputError, match=r"unknown method 'lorri' \(available: lori, sequential-lora\)"):
        METHODS.find("lorri")
