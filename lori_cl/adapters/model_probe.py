"""Short forward passes that show how a model works: which modules a text reaches, and what it returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from lori_cl.errors import ModelError, first_line

ROWS, TOKENS = 3, 7
"""Of the probe batch. They differ, so that a flattened or transposed batch shows on its first axis."""

SPECIAL_ENDS = ("token_id", "token_index")
"""How config fields end that hold the id of a special token, such as padding or an image's placeholder."""


@dataclass(frozen=True)
class ModuleCalls:
    """What one forward pass of the probe batch called."""

    reached: frozenset[str]
    """Modules that were called, and all their ancestors."""
    returned_no_tensor: frozenset[str]
    """Modules that returned a tuple or anything else that is no tensor."""
    flattened: frozenset[str]
    """Modules whose input has another first axis than the batch."""


def word_table(model: Any) -> Float[Tensor, "V d"]:
    """The embeddings of the model's tokens.

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
    """So many ids of tokens that the model's config gives no special meaning, as different as there are."""
    vocabulary = word_table(model).shape[0]
    special = set(_special_ids(model.config.to_dict()))
    ordinary = list(islice((i for i in range(vocabulary) if i not in special), count))
    return list(islice(cycle(ordinary or [0]), count))


def _special_ids(config: Any) -> Iterator[int]:
    """The ids in all fields that name special tokens, in nested configs as well."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _special_ids(value)
        elif str(name).endswith(SPECIAL_ENDS):
            yield from (i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int))


@contextmanager
def probing(model: nn.Module, *, training: bool = False) -> Iterator[None]:
    """Without gradients, and without dropout unless `training`; afterwards every module's mode and the random
    state are as before."""
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
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
    """The model's output for token ids and an attention mask alone, as lori_cl calls every model.

    Raises: ModelError, if the model needs other inputs, or fails.
    """
    device = next(model.parameters()).device
    batch: Int64[Tensor, "B T"] = torch.tensor(ids, device=device)
    attention = torch.ones_like(batch) if mask is None else torch.tensor(mask, device=device)
    try:
        return model(input_ids=batch, attention_mask=attention, **more)
    except Exception as error:  # the model's own code: what it raises is not ours to list
        name = type(error).__name__
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        raise ModelError(
            f"a model of type {kind} does not read token ids and an attention mask alone "
            f"({name}: {first_line(error)}); name a text model"
        ) from error


def record_calls(model: Any, modules: Mapping[str, nn.Module]) -> ModuleCalls:
    """Which of these modules a short text reaches, and how they are called.

    Raises: ModelError, if the model cannot read a text.
    """
    called: set[str] = set()
    no_tensor: set[str] = set()
    flattened: set[str] = set()

    def note(name: str, args: tuple[Any, ...], output: Any) -> None:
        called.add(name)
        if not isinstance(output, Tensor):
            no_tensor.add(name)
        if args and isinstance(args[0], Tensor) and args[0].shape[0] != ROWS:
            flattened.add(name)

    hooks = [
        module.register_forward_hook(lambda _, args, output, name=name: note(name, args, output))
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
