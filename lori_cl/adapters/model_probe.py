"""Short forward passes that probe a model: which modules a text reaches, and what they return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from jaxtyping import Float, Int64
from torch import Tensor, nn

from lori_cl.errors import ModelError, first_line
from lori_cl.model_traits import input_device, is_encoder_decoder

ROWS, TOKENS = 3, 7
"""Size of the probe batch. The two differ so that the first axis shows a flattened or transposed batch."""

SPECIAL_ENDS = ("token_id", "token_index")
"""Suffixes of config fields with the id of a special token, such as padding or an image placeholder."""


@dataclass(frozen=True)
class ModuleCalls:
    """The module calls in one forward pass of the probe batch."""

    reached: frozenset[str]
    """Modules that were called, with all their ancestors."""
    returned_no_tensor: frozenset[str]
    """Modules that returned something other than a tensor, such as a tuple."""
    flattened: frozenset[str]
    """Modules whose input has a different first axis than the batch."""


def token_embeddings(model: Any) -> Float[Tensor, "V d"]:
    """Return the model's token embeddings.

    Raises: ModelError, if it has none.
    """
    try:
        table = model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError):
        table = None
    if not isinstance(table, Tensor) or table.dim() != 2:
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        raise ModelError(f"a model of type {kind} has no table of token embeddings; name a text model")
    return table


def ordinary_ids(model: Any, count: int) -> list[int]:
    """Return `count` ids of tokens that are not special in the model's config, repeated if too few."""
    vocabulary = token_embeddings(model).shape[0]
    special = set(_special_ids(model.config.to_dict()))
    ordinary = list(islice((i for i in range(vocabulary) if i not in special), count))
    return list(islice(cycle(ordinary or [0]), count))


def _special_ids(config: Any) -> Iterator[int]:
    """Yield the ids in all fields of special tokens, including nested configs."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _special_ids(value)
        elif str(name).endswith(SPECIAL_ENDS):
            yield from (i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int))


@contextmanager
def probing(model: nn.Module, *, training: bool = False) -> Iterator[None]:
    """Disable gradients, and dropout unless `training`; restore all modes and the random state afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    device = input_device(model)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        model.train(training)
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def read_ids(
    model: Any, ids: Sequence[Sequence[int]], mask: Sequence[Sequence[int]] | None = None, **more: Tensor
) -> Any:
    """Run the model on token ids and an attention mask only, as lori_cl calls every model.

    The decoder of an encoder-decoder model reads the same ids as its encoder.

    Raises: ModelError, if the model needs other inputs, or fails.
    """
    device = input_device(model)
    batch: Int64[Tensor, "B T"] = torch.tensor(ids, device=device)
    attention = torch.ones_like(batch) if mask is None else torch.tensor(mask, device=device)
    if is_encoder_decoder(model):
        more = {"decoder_input_ids": batch, **more}
    try:
        return model(input_ids=batch, attention_mask=attention, **more)
    except Exception as error:  # the model's code can raise anything
        if should_reduce_batch_size(error):
            raise  # out of memory
        name = type(error).__name__
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        raise ModelError(
            f"a model of type {kind} does not accept only token ids and an attention mask "
            f"({name}: {first_line(error)}); name a text model"
        ) from error


def record_calls(model: Any, modules: Mapping[str, nn.Module]) -> ModuleCalls:
    """Record which of these modules a short text reaches, and how they are called.

    Raises: ModelError, if the model cannot process text.
    """
    called: set[str] = set()
    no_tensor: set[str] = set()
    flattened: set[str] = set()

    def record(name: str, args: tuple[Any, ...], output: Any) -> None:
        called.add(name)
        if not isinstance(output, Tensor):
            no_tensor.add(name)
        if args and isinstance(args[0], Tensor) and args[0].shape[0] != ROWS:
            flattened.add(name)

    hooks = [
        module.register_forward_hook(lambda _, args, output, name=name: record(name, args, output))
        for name, module in modules.items()
    ]
    try:
        with probing(model):
            ids = ordinary_ids(model, TOKENS)
            read_ids(model, [ids[row:] + ids[:row] for row in range(ROWS)])
    finally:
        for hook in hooks:
            hook.remove()
    return ModuleCalls(_with_ancestors(called), frozenset(no_tensor), frozenset(flattened))


def _with_ancestors(names: set[str]) -> frozenset[str]:
    return frozenset(
        ".".join(parts[:end])
        for parts in (name.split(".") for name in names)
        for end in range(len(parts) + 1)
    )
