from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lori_cl import digest
from lori_cl.errors import SpecError
from lori_cl.spec import CurriculumSpec, View, load_curriculum
from lori_cl.spec.base import Spec
from lori_cl.spec.loading import Known

from .conftest import CURRICULUM, Write

MINIMAL = "name: c\nmodel: {path: m}\ntasks: [a]\n"


def refusal(path: Path, known: Known | None = None) -> str:
    with pytest.raises(SpecError) as caught:
        load_curriculum(path, known=known)
    return str(caught.value)


def test_curriculum_file_is_read_into_its_declaration(write: Write) -> None:
    curriculum = load_curriculum(write(CURRICULUM))
    assert curriculum.tasks == ("sst2", "agnews")
    assert curriculum.train.epochs == 2
    assert curriculum.default_run_name == "five-tasks-lori-0"


def test_unknown_nested_field_is_reported_with_owner_line_and_nearest(write: Write) -> None:
    path = write(CURRICULUM.replace("epochs", "epocs"))
    assert refusal(path) == f"{path}, line 8: 'epocs' is not a field of 'train'. Did you mean 'epochs'?"


def test_unknown_field_two_levels_down_is_reported_with_its_full_path(write: Write) -> None:
    path = write(MINIMAL + "masks:\n  calibration:\n    epoch: 1\n")
    message = refusal(path)
    assert message.startswith(f"{path}, line 6: 'epoch' is not a field of 'masks.calibration'")
    assert "'epochs'" in message


def test_duplicate_task_is_reported_with_a_line_of_the_list(write: Write) -> None:
    message = refusal(path := write(CURRICULUM.replace("  - agnews", "  - agnews\n  - sst2")))
    assert "'sst2' twice" in message
    assert message.startswith((f"{path}, line 4:", f"{path}, line 7:"))


def test_mapping_given_as_a_list_is_refused_with_its_line(write: Write) -> None:
    assert refusal(path := write(MINIMAL + "train: []\n")).startswith(f"{path}, line 4: 'train'")


def test_one_task_without_brackets_is_refused_with_its_line(write: Write) -> None:
    message = refusal(path := write(MINIMAL.replace("[a]", "sst2")))
    assert message.startswith(f"{path}, line 3: 'tasks'")
    assert "'sst2'" in message


def test_curriculum_without_tasks_is_refused(write: Write) -> None:
    assert refusal(path := write(MINIMAL.replace("[a]", "[]"))).startswith(f"{path}, line 3: 'tasks'")


@pytest.mark.parametrize(
    ("place", "value"),
    [("masks.density", "0"), ("masks.density", "1.5"), ("train.lr", "-0.1"), ("adapter.rank", "0")],
)
def test_number_out_of_range_is_reported_with_place_and_value(write: Write, place: str, value: str) -> None:
    owner, field = place.split(".")
    message = refusal(path := write(f"{MINIMAL}{owner}:\n  {field}: {value}\n"))
    assert message.startswith(f"{path}, line 5: '{place}'")
    assert value in message


@pytest.mark.parametrize("value", [".inf", ".nan", "1e400"])
def test_learning_rate_that_is_not_finite_is_refused(write: Write, value: str) -> None:
    assert refusal(path := write(f"{MINIMAL}train: {{lr: {value}}}\n")).startswith(
        f"{path}, line 4: 'train.lr'"
    )


def test_yes_is_refused_as_a_number_of_epochs(write: Write) -> None:
    assert refusal(path := write(MINIMAL + "train: {epochs: yes}\n")).startswith(
        f"{path}, line 4: 'train.epochs'"
    )


def test_seed_outside_the_generator_range_is_refused(write: Write) -> None:
    assert refusal(path := write(MINIMAL + f"seed: {2**64}\n")).startswith(f"{path}, line 4: 'seed'")


def test_5e_3_is_read_as_a_number(write: Write) -> None:
    assert load_curriculum(write(MINIMAL + "train: {lr: 5e-3}\n")).train.lr == 0.005


def test_misspelt_all_linear_error_suggests_all_linear(write: Write) -> None:
    message = refusal(path := write(MINIMAL + "adapter: {targets: all-liner}\n"))
    assert message.startswith(f"{path}, line 4: 'adapter.targets' ")
    assert "'all-linear'" in message


def test_empty_targets_are_refused(write: Write) -> None:
    assert "'adapter.targets'" in refusal(write(MINIMAL + "adapter: {targets: []}\n"))


def test_targets_may_be_a_list_of_names(write: Write) -> None:
    spec = load_curriculum(write(MINIMAL + "adapter: {targets: [q_proj, v_proj]}\n"))
    assert spec.adapter.targets == ("q_proj", "v_proj")


def test_unknown_view_suggests_the_nearest(write: Write) -> None:
    message = refusal(path := write(MINIMAL + "eval: {views: [as_trained, curent]}\n"))
    assert message.startswith(f"{path}, line 4: 'eval.views[1]' cannot be 'curent'")
    assert "Did you mean 'current'?" in message


def test_unknown_method_is_reported_with_line_and_nearest(write: Write) -> None:
    path = write(CURRICULUM.replace("method: lori", "method: lorri"))
    message = refusal(path, {"method": ["lori", "sequential"]})
    assert message.startswith(f"{path}, line 3: unknown method 'lorri'")
    assert "Did you mean 'lori'?" in message


def test_unknown_strategy_is_reported_with_line_and_nearest(write: Write) -> None:
    path = write(CURRICULUM.replace("magnitude", "magnitud"))
    message = refusal(path, {"masks.strategy": ["magnitude", "random"]})
    assert message.startswith(f"{path}, line 9: unknown masks.strategy 'magnitud'")
    assert "Did you mean 'magnitude'?" in message


def test_unknown_task_is_reported_with_its_own_line_and_nearest(write: Write) -> None:
    path = write(CURRICULUM)
    message = refusal(path, {"tasks": ["sst2", "ag_news"]})
    assert message.startswith(f"{path}, line 6: unknown tasks[1] 'agnews'")
    assert "Did you mean 'ag_news'?" in message


def test_unknown_name_without_a_near_match_lists_the_available_names(write: Write) -> None:
    assert "Available: qqp, sst2." in refusal(write(CURRICULUM), {"tasks": ["sst2", "qqp"]})


def test_unknown_default_is_refused_even_if_the_file_does_not_name_it(write: Write) -> None:
    message = refusal(path := write(MINIMAL), {"method": ["sequential"]})
    assert message.startswith(f"{path}, line 1: unknown method 'lori'")


def test_known_names_are_accepted(write: Write) -> None:
    known = {"method": ["lori"], "masks.strategy": {"magnitude"}, "tasks": ("agnews", "sst2", "qqp")}
    assert load_curriculum(write(CURRICULUM), known=known).method == "lori"


def assert_every_field_is_in(record: dict[str, Any], spec: Spec) -> None:
    assert set(record) == set(type(spec).model_fields) - {
        "settings",
        *spec.omitted_if_none,
    }  # left out where empty
    for field, value in spec:
        if isinstance(value, Spec):
            assert_every_field_is_in(record[field], value)


def test_record_includes_every_default(write: Write) -> None:
    spec = load_curriculum(write(MINIMAL))
    record = spec.to_record()
    assert_every_field_is_in(record, spec)
    assert (record["adapter"]["rank"], record["adapter"]["alpha"]) == (32, 64.0)
    assert record["masks"]["density"] == 0.1
    assert record["train"]["weight_decay"] == 0.0
    assert record["eval"]["views"] == ["as_trained", "current"]


def test_curriculum_round_trips_through_its_record(write: Write) -> None:
    spec = load_curriculum(write(CURRICULUM))
    assert CurriculumSpec.model_validate(spec.to_record()) == spec
    assert spec.eval.views == (View.AS_TRAINED, View.CURRENT)


def test_explicit_default_does_not_change_the_digest(write: Write) -> None:
    short = digest.of_json(load_curriculum(write(MINIMAL)).to_record())
    long = digest.of_json(load_curriculum(write("seed: 0\nmethod: lori\n" + MINIMAL)).to_record())
    assert short == long
