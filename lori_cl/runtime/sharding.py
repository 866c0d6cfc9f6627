"""How an accelerate configuration asks to shard the base model: FSDP2, read from the launcher's variables."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass

from lori_cl.errors import InputError
from lori_cl.spec.error_messages import shown

EXAMPLE = "examples/fsdp.yaml"
"""A configuration that lori_cl accepts."""

USE_FSDP = "ACCELERATE_USE_FSDP"

OTHER_KINDS = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism_config",
}
"""Other ways to distribute a model, by the variable with which accelerate requests them."""

REFUSED = {
    "FSDP_OFFLOAD_PARAMS": ("fsdp_offload_params: true", "set fsdp_offload_params: false"),
    "FSDP_ACTIVATION_CHECKPOINTING": (
        "fsdp_activation_checkpointing: true",
        "set train.gradient_checkpointing: true in the curriculum instead",
    ),
}
"""Switches that lori_cl does not support, and what to do instead."""

LAYERS = "TRANSFORMER_BASED_WRAP"


@dataclass(frozen=True)
class Sharding:
    """The weights of the base model are divided among the processes, and gathered layer by layer."""

    layers: tuple[str, ...] = ()
    """Class names of the layers; empty: the layers that support gradient checkpointing."""
    reshard: bool = True
    """Whether a layer's weights are freed after its forward pass, and gathered again in backward."""


def take_sharding(variables: MutableMapping[str, str]) -> Sharding | None:
    """Return the sharding that the variables request; None if they request none.

    The request is removed from the variables. Otherwise accelerate and transformers would shard the adapter
    too, and would load the base model differently in each process.

    Raises: InputError, if the configuration requests something that lori_cl does not support.
    """
    for variable, kind in OTHER_KINDS.items():
        if _is_on(variables, variable):
            raise InputError(
                f"the launcher's configuration requests {kind}, which lori_cl does not support; to shard the "
                f"base model, use FSDP2, as in {EXAMPLE}"
            )
    if not _is_on(variables, USE_FSDP):
        return None
    _check(variables)
    del variables[USE_FSDP]
    names = variables.get("FSDP_TRANSFORMER_CLS_TO_WRAP", "").split(",")
    return Sharding(
        layers=tuple(name.strip() for name in names if name.strip()),
        reshard=variables.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() != "false",
    )


def check_taken(variables: MutableMapping[str, str]) -> None:
    """Check that no request is left: only commands that train call `take_sharding`.

    Raises: InputError.
    """
    if _is_on(variables, USE_FSDP):
        raise InputError(
            "only run and import can shard the base model; start this command without the launcher's FSDP "
            "configuration"
        )


def check_precision(variables: MutableMapping[str, str], precision: str) -> None:
    """Check that the launcher requests no other precision than `train.precision`, which is recorded.

    Raises: InputError.
    """
    requested = variables.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if requested not in {"no", precision}:
        raise InputError(
            f"the launcher's configuration has mixed_precision: {shown(requested)}, but train.precision is "
            f"{precision}; set train.precision, and mixed_precision: 'no' in the configuration"
        )


def _check(variables: MutableMapping[str, str]) -> None:
    """Check the settings of FSDP.

    Raises: InputError.
    """
    version = variables.get("FSDP_VERSION", "1")
    if version != "2":
        raise InputError(
            f"the launcher's configuration has fsdp_version: {shown(version)}; lori_cl shards with FSDP2, so "
            f"set fsdp_version: 2, as in {EXAMPLE}"
        )
    policy = variables.get("FSDP_AUTO_WRAP_POLICY", LAYERS)
    if policy.upper() != LAYERS:
        raise InputError(
            f"the launcher's configuration has fsdp_auto_wrap_policy: {shown(policy)}; lori_cl shards by "
            f"layers, so set fsdp_auto_wrap_policy: {LAYERS}"
        )
    for variable, (setting, remedy) in REFUSED.items():
        if _is_on(variables, variable):
            raise InputError(f"the launcher's configuration has {setting}, which is not supported; {remedy}")


def _is_on(variables: MutableMapping[str, str], name: str) -> bool:
    return variables.get(name, "false").lower() in {"true", "1"}
