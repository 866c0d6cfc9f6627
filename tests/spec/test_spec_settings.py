from __future__ import annotations

from contextlib import suppress

import pytest

from lori_cl.errors import SpecError
from lori_cl.spec import load_curriculum
from lori_cl.spec.loading import Known

from .conftest import CURRICULUM, Write


def refusal(write: Write, *settings: str, known: Known | None = None) -> str:
    with pytest.raises(SpecError) as caught:
        load_curriculum(write(CURRICULUM), settings, known)
    return str(caught.value)


def test_setting_overrides_the_file(write: Write) -> None:
    path = write(CURRICULUM)
    assert load_curriculum(path).train.epochs == 2
    assert load_curriculum(path, ["train.epochs=0.5"]).train.epochs == 0.5


def test_setting_changes_neither_other_fields_nor_the_file(write: Write) -> None:
    path = write(CURRICULUM)
    overridden = load_curriculum(path, ["train.limit=200"])
    assert (overridden.train.limit, overridden.train.epochs) == (200, 2)
    assert path.read_text() == CURRICULUM


def test_setting_may_name_a_field_whose_parent_is_missing_in_the_file(write: Write) -> None:
    assert load_curriculum(write(CURRICULUM), ["masks.calibration.lr=1e-4"]).masks.calibration.lr == 1e-4


def test_last_of_two_settings_wins(write: Write) -> None:
    assert load_curriculum(write(CURRICULUM), ["seed=1", "seed=2"]).seed == 2


def test_setting_may_hold_a_list(write: Write) -> None:
    assert load_curriculum(write(CURRICULUM), ["tasks=[qqp, mnli]"]).tasks == ("qqp", "mnli")


def test_setting_reads_5e_3_as_a_number(write: Write) -> None:
    assert load_curriculum(write(CURRICULUM), ["train.lr=5e-3"]).train.lr == 0.005


def test_unknown_key_error_suggests_the_nearest_and_names_the_setting(write: Write) -> None:
    assert refusal(write, "train.limt=200") == (
        "--set train.limt=200: 'limt' is not a field of 'train'. Did you mean 'limit'?"
    )


def test_unknown_first_key_suggests_the_nearest(write: Write) -> None:
    message = refusal(write, "trian.limit=200")
    assert message.startswith("--set trian.limit=200: 'trian' is not a field of a curriculum")
    assert "'train'" in message


def test_error_for_an_unknown_key_in_a_mapping_names_the_setting(write: Write) -> None:
    message = refusal(write, "train={epoch: 1}")
    assert message.startswith("--set train={epoch: 1}: 'epoch' is not a field of 'train'")


def test_error_for_an_invalid_value_names_the_setting_and_not_the_file(write: Write) -> None:
    message = refusal(write, "train.epochs=many")
    assert message.startswith("--set train.epochs=many: 'train.epochs'")
    assert "spec.yaml" not in message


def test_error_for_a_field_below_a_default_value_names_the_setting(write: Write) -> None:
    assert refusal(write, "train.limit.x=3").startswith("--set train.limit.x=3: ")


def test_field_below_a_value_of_the_file_is_refused(write: Write) -> None:
    message = refusal(write, "train.epochs.x=3")
    assert message.startswith("--set train.epochs.x=3: 'epochs' is a value")


@pytest.mark.parametrize("setting", ["train.limit", "=3", ""])
def test_setting_without_key_and_value_shows_how_to_write_one(write: Write, setting: str) -> None:
    message = refusal(write, setting)
    assert message.startswith(f"--set {setting}: ")
    assert "--set train.limit=200" in message


@pytest.mark.parametrize("setting", [".=1", "train..limit=1", "train.=1"])
def test_error_for_a_key_with_an_empty_part_names_the_setting(write: Write, setting: str) -> None:
    assert refusal(write, setting).startswith(f"--set {setting}: ")


@pytest.mark.parametrize(
    "text", ["2001-99-99", '!!int ""', "!!bool maybe", "[" * 3000, '"\\U99999999"', "&a [*a]", "{", "\x00"]
)
def test_setting_value_that_is_invalid_yaml_is_refused(write: Write, text: str) -> None:
    assert refusal(write, f"seed={text}").startswith("--set seed=")


def test_error_in_the_file_still_names_the_file(write: Write) -> None:
    path = write(CURRICULUM.replace("epochs: 2", "epochs: many"))
    with pytest.raises(SpecError) as caught:
        load_curriculum(path, ["train.limit=200"])
    assert str(caught.value).startswith(f"{path}, line 8: 'train.epochs'")


def test_error_for_an_unknown_name_in_a_setting_names_the_setting(write: Write) -> None:
    message = refusal(write, "masks.strategy=randon", known={"masks.strategy": ["magnitude", "random"]})
    assert message.startswith("--set masks.strategy=randon: unknown masks.strategy 'randon'")
    assert "'random'" in message


def test_error_for_an_unknown_task_in_a_list_setting_names_the_setting(write: Write) -> None:
    message = refusal(write, "tasks=[sst2, agnew]", known={"tasks": ["sst2", "agnews"]})
    assert message.startswith("--set tasks=[sst2, agnew]: unknown tasks[1] 'agnew'")
    assert "'agnews'" in message


def test_setting_changes_only_its_field_if_the_file_shares_a_mapping(write: Write) -> None:
    path = write("name: c\nmodel: {path: m}\ntasks: [a]\ntrain: &few {limit: 5}\neval: *few\n")
    with suppress(SpecError):  # refusing aliases entirely is also correct
        spec = load_curriculum(path, ["train.limit=7"])
        assert (spec.train.limit, spec.eval.limit) == (7, 5)
