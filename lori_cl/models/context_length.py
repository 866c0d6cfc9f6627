"""Determine a model's usable context length; its config may state it in several fields, or wrongly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lori_cl.adapters import ordinary_ids, probing, read_ids
from lori_cl.errors import ModelError
from lori_cl.model_traits import input_device

UNLIMITED = 2**31
CONFIG_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len")
"""Config fields for the context length; transformers maps some other names to the first."""

CHEAP = 10**9
"""Maximum of parameters times tokens for a forward pass used as a check."""
CHEAP_TOKENS = 4096


@dataclass
class TableLookups(TorchFunctionMode):
    """Record the largest row looked up in each embedding table, except the word table, while active.

    Raises IndexError before a lookup outside a table, because on a GPU such a lookup ends the process.
    """

    words: nn.Module
    """The word embeddings."""
    largest: dict[int, int] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)
    """Size of each table, by the same key."""

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Record embedding lookups and call the function."""
        if func is functional.embedding and args[0].numel():
            indices, table = args[:2]
            if table is not self.words.weight:
                self._record(table, int(indices.max()))
        return func(*args, **(kwargs or {}))

    def _record(self, table: Tensor, index: int) -> None:
        if index >= table.shape[0]:
            raise IndexError(f"row {index} of an embedding table of {table.shape[0]} rows")
        self.rows[id(table)] = table.shape[0]
        self.largest[id(table)] = max(index, self.largest.get(id(table), 0))


def table_limits(short: TableLookups, n_short: int, long: TableLookups, n_long: int) -> list[int]:
    """Return the context lengths of the position tables, ascending, from the lookups of two texts.

    A table of relative positions may look like a position table; `usable_context` checks it.
    """
    grown = [t for t, i in short.largest.items() if long.largest.get(t, i) - i == n_long - n_short]
    return sorted(short.rows[t] - (short.largest[t] - (n_short - 1)) for t in grown)


def usable_context(model: Any, tokenizer: Any, limits: Iterable[int]) -> int:
    """Return the number of tokens the model can read, as limited by config, tokenizer and position tables."""
    claimed: int = min([*_claims(model.config), tokenizer.model_max_length, UNLIMITED])
    for limit in limits:
        if limit >= claimed:
            return claimed  # the table is large enough for the stated length
        if not _reads(model, limit + 1):
            return limit
    return claimed if not _is_cheap(model, claimed) else _longest(model, claimed)


def _claims(config: Any) -> list[int]:
    values = [getattr(of, name, None) for of in (config, text_config(config)) for name in CONFIG_FIELDS]
    return [value for value in values if isinstance(value, int) and value > 0]


def text_config(config: Any) -> Any:
    """Return the language model's config, also from inside a multimodal config."""
    try:
        return config.get_text_config()
    except (AttributeError, ValueError):  # no text config, or several
        return config


def _is_cheap(model: Any, tokens: int) -> bool:
    # On a GPU, access outside a buffer ends the process.
    on_cpu = input_device(model).type == "cpu"
    return on_cpu and tokens <= CHEAP_TOKENS and tokens * sum(p.numel() for p in model.parameters()) <= CHEAP


def _longest(model: Any, claimed: int) -> int:
    """Return the longest input of up to `claimed` tokens that a forward pass accepts."""
    if _reads(model, claimed):
        return claimed
    works, fails = 1, claimed
    while fails - works > 1:
        middle = (works + fails) // 2
        works, fails = (middle, fails) if _reads(model, middle) else (works, middle)
    return works


def _reads(model: Any, tokens: int) -> bool:
    try:
        with probing(model), TableLookups(model.get_input_embeddings()):
            read_ids(model, [ordinary_ids(model, tokens)])
    except ModelError:
        getattr(model, "reset_iter_state", lambda: None)()  # a sharded model's hooks after an error
        return False
    return True
