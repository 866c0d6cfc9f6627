"""Sites: the Linear layers to adapt, and the checks on `adapter.targets`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lori_cl.errors import TargetError, suggestion


@dataclass(frozen=True)
class Site:
    """One adapted Linear layer."""

    name: str
    """The module's name in the base model."""
    in_features: int
    out_features: int
    rank: int

    @property
    def cells(self) -> int:
        """Number of entries of this site's B, (out, r)."""
        return self.out_features * self.rank


def check_targets(model: nn.Module, targets: tuple[str, ...]) -> None:
    """Refuse targets that match no module, an output head, or a module that is not a Linear.

    Raises: TargetError, naming the target, the module and the valid names.
    """
    modules = dict(model.named_modules())
    usable = {name.rsplit(".", 1)[-1] for name, module in modules.items() if is_linear(module)}
    heads = output_heads(model)
    usable -= {name.rsplit(".", 1)[-1] for name in heads}
    for target in targets:
        found = {name: modules[name] for name in targeted(modules, target)}
        if not found:
            _refuse_parameter(model, target)
            hint = suggestion(target, usable) or f" Available: {', '.join(sorted(usable))}."
            raise TargetError(f"adapter.targets: no module name ends in '{target}'.{hint}")
        for name, module in found.items():
            _refuse_unusable(name, module, heads)


def targeted(names: Iterable[str], target: str) -> list[str]:
    """Return the names that a target matches: the name itself, or names that end in it."""
    return [name for name in names if name == target or name.endswith(f".{target}")]


def _refuse_parameter(model: nn.Module, target: str) -> None:
    """Refuse a target that matches a weight instead of a module, such as fused experts."""
    found = targeted((name for name, _ in model.named_parameters()), target)
    if found:
        raise TargetError(
            f"adapter.targets: '{found[0]}' is a weight of shape "
            f"{tuple(model.get_parameter(found[0]).shape)}, not a module; only Linear and Conv1D layers can "
            "be adapted, fused experts cannot: remove it"
        )


def _refuse_unusable(name: str, module: nn.Module, heads: Mapping[str, nn.Module]) -> None:
    if name in heads:
        raise TargetError(
            f"adapter.targets: '{name}' is the model's output head, which may be tied to its embeddings; "
            "name Linear layers inside the model, or 'all-linear'"
        )
    if not is_linear(module):
        # With A frozen, the gradient of an adapted embedding is exactly zero.
        raise TargetError(
            f"adapter.targets: '{name}' is a {type(module).__name__}; "
            "only Linear and Conv1D layers can be adapted: remove it"
        )


def is_adaptable(module: nn.Module | None) -> bool:
    """Return whether the module can be a site: a Linear, GPT-2's Conv1D, or a quantised Linear.

    The Linears of GPTQ and AWQ are classes of their own, with packed integers instead of a weight.
    """
    return isinstance(module, (nn.Linear, Conv1D)) or is_packed_linear(module)


def is_packed_linear(module: nn.Module | None) -> bool:
    """Return whether the module is a Linear of GPTQ or AWQ."""
    features = (getattr(module, "in_features", None), getattr(module, "out_features", None))
    return isinstance(getattr(module, "qweight", None), Tensor) and None not in features


def is_linear(module: nn.Module) -> bool:
    """Return whether PEFT can adapt the module as a Linear. Quantized classes have Linear in their names."""
    return isinstance(module, (nn.Linear, Conv1D)) or "Linear" in type(module).__name__


def output_heads(model: nn.Module) -> dict[str, nn.Module]:
    """Return the model's output head by its name; empty if it has none."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    return {name: module for name, module in model.named_modules() if head is not None and module is head}
