"""Limits on the memory and time that loading a model folder may take.

A model folder is untrusted input, like a task file. Its weights are read from safetensors, and none of its
code is run. But `config.json` can request a million layers, and `tokenizer.json` can multiply a text without
limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from lori_cl.errors import ModelError, first_line
from lori_cl.models.gguf import gguf_size
from lori_cl.models.location import ModelLocation
from lori_cl.models.tokenizer_growth import check_tokenizer_json
from lori_cl.models.weights_size import weights_size

MAX_JSON_BYTES = 2**24
"""Maximum size of config.json and similar files."""
MAX_TOKENIZER_BYTES = 2**27
"""Maximum size of tokenizer.json; the largest known file has about 35 MB."""
MAX_COUNT = 10_000
"""Maximum number of layers, experts, labels and other parts in a configuration."""
COUNTED = re.compile(r"layers|labels|experts|blocks|depth|groups|stages|codebooks|^n_layer$|^n_head$|_heads$")
"""Configuration fields that count parts; Python creates a list for each."""
FREE_VALUES, VALUES_A_BYTE = 2**27, 2
"""Allowance for values of parameters and buffers: a constant, plus so many for each byte of weights files."""
VALUES_A_QUANTIZED_BYTE = 8
"""The same for weights that are quantised already; each is created as a Linear first."""
VALUES_A_WEIGHT = 2
"""The same for each weight in a GGUF file; tied weights are created twice."""
FREE_MODULES, MODULES_A_TENSOR = 10_000, 20
"""Allowance for modules: a constant, plus so many for each tensor in the weights files."""


def check_config_file(path: str, file: Path | None) -> None:
    """Check that no count in a configuration exceeds the limit.

    Raises: ModelError.
    """
    config = {} if file is None else _read_json(path, file, MAX_JSON_BYTES)
    for name, value in _numbers(config):
        if COUNTED.search(name) and not 0 <= value <= MAX_COUNT:
            raise ModelError(
                f"model.path '{path}': config.json says {name} is {value:,}; it must be between 0 and "
                f"{MAX_COUNT:,}"
            )


def check_tokenizer_file(path: str, file: Path | None) -> float:
    """Check a tokenizer file; return how many times longer the tokenizer may make a text.

    Raises: ModelError.
    """
    if file is None:
        return 1.0
    return check_tokenizer_json(path, _read_json(path, file, MAX_TOKENIZER_BYTES))


def _read_json(path: str, file: Path, largest: int) -> dict[str, Any]:
    size = file.stat().st_size
    if size > largest:
        raise ModelError(f"model.path '{path}': {file.name} has {size:,} bytes; the limit is {largest:,}")
    try:
        read = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"model.path '{path}': {file.name} is not valid JSON: {first_line(error)}") from None
    if not isinstance(read, dict):
        raise ModelError(f"model.path '{path}': {file.name} is not a JSON object")
    return read


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of a configuration, including nested ones, with its field."""
    waiting = [(name, value)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(name, part) for part in value]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value


@contextmanager
def bounded_model(
    path: str, place: ModelLocation, revision: str | None, *, quantized: bool = False
) -> Iterator[None]:
    """Limit models created in this context to about as many modules and values as their weights files hold.

    `quantized` files have up to eight values a byte.
    Modules, parameters and buffers are counted while transformers creates them, before they take memory.
    Raises: ModelError.
    """
    if place.gguf is None:
        tensors, size, *_ = weights_size(place.repository, revision)
        values = (VALUES_A_QUANTIZED_BYTE if quantized else VALUES_A_BYTE) * size
    else:
        tensors, held = gguf_size(path, place.gguf)
        size, values = place.gguf.stat().st_size, VALUES_A_WEIGHT * held
    left = {"modules": FREE_MODULES + MODULES_A_TENSOR * tensors, "values": FREE_VALUES + values}

    def take(what: str, n: int) -> None:
        left[what] -= n
        if left[what] < 0:
            raise ModelError(
                f"model.path '{path}': config.json describes a model with more {what} than its weights files "
                f"hold ({tensors:,} tensors, {size:,} bytes); use the config.json that belongs to the weights"
            )

    def count_module(module: nn.Module, name: str, child: Any) -> None:
        take("modules", 1)

    def count_values(module: nn.Module, name: str, value: Any) -> None:
        take("values", 0 if value is None else value.numel())

    hooks = [
        register_module_module_registration_hook(count_module),
        register_module_parameter_registration_hook(count_values),
        register_module_buffer_registration_hook(count_values),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def no_panic(path: str, what: str) -> Iterator[None]:
    """Convert a panic of a Rust library, which is not an Exception, to a ModelError."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ModelError(f"model.path '{path}': its tokenizer fails {what}: {first_line(error)}") from None


def guard_tokenizer(path: str, tokenizer: Any, growth: float, longest: int = 2**25) -> None:
    """Convert a tokenizer's panics to ModelErrors, and reject texts that it would lengthen too much."""
    for name, what in (("_encode_plus", "on a text"), ("_decode", "on an answer")):
        _guard(path, tokenizer, name, what, growth if name == "_encode_plus" else 1.0, longest)


def _guard(path: str, tokenizer: Any, name: str, what: str, growth: float, longest: int) -> None:
    method = getattr(tokenizer, name)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if growth > 1:
            size = max(map(len, _texts([*args, *kwargs.values()])), default=0)
            if size * growth > longest:
                raise ModelError(
                    f"model.path '{path}': its tokenizer may make a text {growth:g} times longer; a text of "
                    f"{size:,} characters is too long for it"
                )
        with no_panic(path, what):
            return method(*args, **kwargs)

    setattr(tokenizer, name, guarded)


def _texts(values: list[Any]) -> Iterator[str]:
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | tuple):
            waiting += value
