"""How many tokens a model can really read: its config says it in several fields, and not always rightly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lori_cl.adapters import ordinary_ids, probing, read_ids, word_table
from lori_cl.errors import ModelError

UNLIMITED = 2**31
CLAIMS = ("max_position_embeddings", "n_positions", "max_seq_len")
"""Config fields that name a context length; transformers maps some other names to the first."""

CHEAP = 10**9
"""Parameters times tokens of a forward pass that is worth a check."""
CHEAP_TOKENS = 4096


@dataclass
class TableLookups(TorchFunctionMode):
    """The largest row that is looked up in each embedding table while it is entered, but for the words'.

    Raises IndexError before a lookup outside of a table, which would end a GPU's process.
    """

    words: Tensor
    """The table of the words."""
    largest: dict[int, int] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)
    """By the same key, the size of the table."""

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Note an embedding lookup; everything else is as ever."""
        if func is functional.embedding and args[0].numel():
            indices, table = args[:2]
            if table is not self.words:
                self._note(table, int(indices.max()))
        return func(*args, **(kwargs or {}))

    def _note(self, table: Tensor, index: int) -> None:
        if index >= table.shape[0]:
            raise IndexError(f"row {index} of an embedding table of {table.shape[0]} rows")
        self.rows[id(table)] = table.shape[0]
        self.largest[id(table)] = max(index, self.largest.get(id(table), 0))


def table_limits(short: TableLookups, n_short: int, long: TableLookups, n_long: int) -> list[int]:
    """The lengths at which tables of positions end, as two texts of these lengths have used them, ascending.

    A table of relative positions may look like one; `usable_context` finds out.
    """
    grown = [t for t, i in short.largest.items() if long.largest.get(t, i) - i == n_long - n_short]
    return sorted(short.rows[t] - (short.largest[t] - (n_short - 1)) for t in grown)


def usable_context(model: Any, tokenizer: Any, limits: Iterable[int]) -> int:
    """The tokens that the model can read: no more than config, tokenizer and tables of positions allow."""
    claimed: int = min([*_claims(model.config), tokenizer.model_max_length, UNLIMITED])
    for limit in limits:
        if limit >= claimed:
            return claimed  # the table has room for all that is claimed
        if not _reads(model, limit + 1):
            return limit
    return claimed if not _is_cheap(model, claimed) else _longest(model, claimed)


def _claims(config: Any) -> list[int]:
    values = [getattr(of, name, None) for of in (config, text_config(config)) for name in CLAIMS]
    return [value for value in values if isinstance(value, int) and value > 0]


def text_config(config: Any) -> Any:
    """The config of the language model, where it stands inside a multimodal one."""
    try:
        return config.get_text_config()
    except (AttributeError, ValueError):  # none, or several
        return config


def _is_cheap(model: Any, tokens: int) -> bool:
    # On a GPU, what reaches beyond a buffer ends the process.
    on_cpu = next(model.parameters()).device.type == "cpu"
    return on_cpu and tokens <= CHEAP_TOKENS and tokens * sum(p.numel() for p in model.parameters()) <= CHEAP


def _longest(model: Any, claimed: int) -> int:
    """The longest text up to `claimed` tokens that a forward pass reads."""
    if _reads(model, claimed):
        return claimed
    works, fails = 1, claimed
    while fails - works > 1:
        middle = (works + fails) // 2
        works, fails = (middle, fails) if _reads(model, middle) else (works, middle)
    return works


def _reads(model: Any, tokens: int) -> bool:
    try:
        with probing(model), TableLookups(word_table(model)):
            read_ids(model, [ordinary_ids(model, tokens)])
    except ModelError:
        return False
    return True
