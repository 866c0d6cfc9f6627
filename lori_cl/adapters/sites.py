"""Sites: the Linear layers that the adapter changes, and the ones it must not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn
from transformers.pytorch_utils import Conv1D

from lori_cl.errors import TargetError, suggestion


@dataclass(frozen=True)
class Site:
    """One adapted Linear."""

    name: str
    """The module's name in the base model."""
    in_features: int
    out_features: int
    rank: int

    @property
    def cells(self) -> int:
        """Entries of this site's B, (out, r)."""
        return self.out_features * self.rank


def check_targets(model: nn.Module, targets: tuple[str, ...]) -> None:
    """Refuse targets that name nothing, a head, an embedding or anything else that is no Linear.

    Raises: TargetError, naming the target, the module and the names that would do.
    """
    modules = dict(model.named_modules())
    usable = {name.rsplit(".", 1)[-1] for name, module in modules.items() if is_linear(module)}
    heads = output_heads(model)
    usable -= {name.rsplit(".", 1)[-1] for name in heads}
    for target in targets:
        found = {name: modules[name] for name in targeted(modules, target)}
        if not found:
            _refuse_parameter(model, target)
            near = suggestion(target, usable) or f" There are: {', '.join(sorted(usable))}."
            raise TargetError(f"adapter.targets: no module's name ends in '{target}'.{near}")
        for name, module in found.items():
            _refuse_unusable(name, module, heads)


def targeted(names: Iterable[str], target: str) -> list[str]:
    """The names that a target names: itself, or those that end in it."""
    return [name for name in names if name == target or name.endswith(f".{target}")]


def _refuse_parameter(model: nn.Module, target: str) -> None:
    """Refuse a target that names weights which are no module, such as a model's fused experts."""
    found = targeted((name for name, _ in model.named_parameters()), target)
    if found:
        raise TargetError(
            f"adapter.targets: '{found[0]}' is a weight of shape "
            f"{tuple(model.get_parameter(found[0]).shape)} and no module; only Linear and Conv1D layers can "
            "be adapted, fused experts cannot: leave it out"
        )


def _refuse_unusable(name: str, module: nn.Module, heads: Mapping[str, nn.Module]) -> None:
    if name in heads:
        raise TargetError(
            f"adapter.targets: '{name}' is the model's output head, which may be tied to its embeddings; "
            "name Linear layers inside the model, or 'all-linear'"
        )
    if not is_linear(module):
        # With A frozen, the gradient of an adapted embedding is exactly zero: it would never learn.
        raise TargetError(
            f"adapter.targets: '{name}' is a {type(module).__name__}; "
            "only Linear and Conv1D layers can be adapted: leave it out"
        )


def is_linear(module: nn.Module) -> bool:
    """Whether PEFT can put a LoRA on it as on a Linear; quantised ones carry Linear in their class's name."""
    return isinstance(module, (nn.Linear, Conv1D)) or "Linear" in type(module).__name__


def output_heads(model: nn.Module) -> dict[str, nn.Module]:
    """The model's output head by its name; empty where it has none."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    return {name: module for name, module in model.named_modules() if head is not None and module is head}
