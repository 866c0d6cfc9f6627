"""What an accelerate configuration may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lori_cl.errors import InputError
from lori_cl.runtime.sharding import EXAMPLE, USE_FSDP, Sharding, check_precision, check_taken, take_sharding

ROOT = Path(__file__).parents[2]
FSDP2 = {USE_FSDP: "true", "FSDP_VERSION": "2"}


def test_no_request_means_no_sharding() -> None:
    assert take_sharding({}) is None
    assert take_sharding({USE_FSDP: "false", "FSDP_VERSION": "1"}) is None


def test_request_is_taken_from_accelerate_and_transformers() -> None:
    variables = dict(FSDP2)
    assert take_sharding(variables) == Sharding()
    assert USE_FSDP not in variables
    check_taken(variables)


def test_settings_of_fsdp_are_followed() -> None:
    variables = FSDP2 | {
        "FSDP_TRANSFORMER_CLS_TO_WRAP": "LlamaDecoderLayer, MixtralDecoderLayer",
        "FSDP_RESHARD_AFTER_FORWARD": "false",
    }
    expected = Sharding(layers=("LlamaDecoderLayer", "MixtralDecoderLayer"), reshard=False)
    assert take_sharding(variables) == expected


def test_example_file_is_accepted() -> None:
    settings = yaml.safe_load((ROOT / EXAMPLE).read_text())
    assert settings["distributed_type"] == "FSDP"
    assert settings["mixed_precision"] == "no"
    variables = {name.upper(): str(value).lower() for name, value in settings["fsdp_config"].items()}
    assert take_sharding({USE_FSDP: "true", **variables}) == Sharding()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"ACCELERATE_USE_DEEPSPEED": "true"},
            r"requests DeepSpeed, which .* use FSDP2, as in examples/fsdp",
        ),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "requests Megatron-LM"),
        (FSDP2 | {"ACCELERATE_USE_PARALLELISM_CONFIG": "true"}, "requests a parallelism_config"),
        ({USE_FSDP: "true"}, "has fsdp_version: '1'; lori_cl shards with FSDP2, so set fsdp_version: 2"),
        (FSDP2 | {"FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP"}, "fsdp_auto_wrap_policy: 'SIZE_BASED_WRAP'"),
        (FSDP2 | {"FSDP_OFFLOAD_PARAMS": "true"}, "set fsdp_offload_params: false"),
        (FSDP2 | {"FSDP_ACTIVATION_CHECKPOINTING": "true"}, r"set train\.gradient_checkpointing: true"),
    ],
)
def test_unsupported_request_is_refused_in_one_line(variables: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        take_sharding(dict(variables))
    assert "\n" not in str(refused.value)


def test_command_that_cannot_shard_refuses_the_request() -> None:
    with pytest.raises(InputError, match="only run and import can shard the base model"):
        check_taken(dict(FSDP2))


def test_launcher_cannot_contradict_the_recorded_precision() -> None:
    for requested, precision in (("no", "bf16"), ("bf16", "bf16")):
        check_precision({"ACCELERATE_MIXED_PRECISION": requested}, precision)
    check_precision({}, "fp16")
    with pytest.raises(InputError, match=r"mixed_precision: 'bf16', but train\.precision is fp32; set train"):
        check_precision({"ACCELERATE_MIXED_PRECISION": "bf16"}, "fp32")
