"""Select the modules to adapt for `adapter.targets`, with the reason why each other module is not adapted.

`all-linear` selects every Linear (and GPT-2's Conv1D) that a text reaches. In every model it excludes output
heads, embeddings, routers, and fused weights of experts, which are not Linear modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peft import LoraConfig
from torch import nn

from lori_cl.adapters.model_probe import ModuleCalls, record_calls
from lori_cl.adapters.sites import (
    check_targets,
    is_adaptable,
    is_packed_linear,
    output_heads,
    targeted,
)
from lori_cl.errors import TargetError

HEAD = "output head"
EMBEDDING = "embeddings"
EXPERTS = "fused experts"
ROUTER = "routers"
CONVOLUTION = "convolutions"
UNREACHED = "not reached by text"
UNTARGETED = "not in adapter.targets"
MAMBA = "output projections of Mamba mixers, whose kernels bypass the module"
RENAMED = "Linears that PEFT treats as experts because of their names"
VECTORS = "norms and biases"
OTHER = "other weights"


@dataclass(frozen=True)
class SiteSelection:
    """The modules of a model that have their own parameters: adapted, or excluded for a reason."""

    sites: tuple[str, ...]
    """Adapted modules, in the model's order."""
    left_out: Mapping[str, str]
    """Every other module, with the reason."""
    parameters: Mapping[str, int]
    """Number of parameters of each module; shared parameters count for the first one."""


def select_sites(
    model: Any, targets: str | Sequence[str], recorded: Sequence[str] | None = None
) -> SiteSelection:
    """Classify every module. `recorded` are the sites of an existing run, which do not change.

    Raises: TargetError, if `targets` names a module that cannot be adapted, or no module remains; ModelError,
    if the model cannot process text.
    """
    if targets != "all-linear":
        check_targets(model, tuple(targets))
    modules = {
        name: module
        for name, module in model.named_modules()
        if is_packed_linear(module) or any(True for _ in module.parameters(recurse=False))
    }
    rules = _Rules(model, record_calls(model, modules))
    reasons = {name: rules.reason(name, module) for name, module in modules.items()}
    if recorded is not None:
        reasons = _as_recorded(reasons, modules, recorded)
    elif targets != "all-linear":
        reasons = _as_targeted(reasons, targets)
    sites = tuple(name for name, reason in reasons.items() if reason is None)
    if not sites:
        named = "" if targets == "all-linear" else " with these names"
        shown = targets if isinstance(targets, str) else ", ".join(targets)
        raise TargetError(
            f"adapter.targets: {shown}: the model has no Linear layer{named} that a text reaches"
        )
    left_out = {name: reason for name, reason in reasons.items() if reason is not None}
    return SiteSelection(sites, left_out, _parameters(modules))


class _Rules:
    """The rules of `all-linear` for the modules of a model."""

    def __init__(self, model: Any, calls: ModuleCalls) -> None:
        self._model = model
        self._calls = calls
        self._heads = output_heads(model)
        self._renamed: dict[str, bool] = {}

    def reason(self, name: str, module: nn.Module) -> str | None:
        """Return why the module is not a site; None if it is one."""
        if name in self._heads:
            return HEAD
        linear = is_adaptable(module)
        if name not in self._calls.reached and not self._is_conditional(name):
            # A weight may be read without calling its module. A Linear's adapter would then have no effect.
            parent_reached = name.rpartition(".")[0] in self._calls.reached
            return UNREACHED if linear or not parent_reached else _kind(name, module)
        if not linear:
            return _kind(name, module)
        if name in self._calls.returned_no_tensor:
            return ROUTER
        if self._is_mamba_output(name):
            return MAMBA
        return RENAMED if self._is_renamed(name.rpartition(".")[2]) else None

    def _is_conditional(self, name: str) -> bool:
        """Return whether other texts reach the module: it belongs to an expert whose sibling was called."""
        parts, reached = name.split("."), self._calls.reached
        topmost = next(end for end in range(len(parts) + 1) if ".".join(parts[:end]) not in reached)
        path = ".".join(parts[: topmost - 1])
        experts = self._model.get_submodule(path)
        names = {f"{path}.{child}" for child, _ in experts.named_children()}
        return isinstance(experts, nn.ModuleList) and bool(names & reached)

    def _is_mamba_output(self, name: str) -> bool:
        """Return whether this is a Mamba mixer's `out_proj`, whose weight fused kernels use directly."""
        parent, _, last = name.rpartition(".")
        mixer = self._model.get_submodule(parent)
        return last == "out_proj" and all(hasattr(mixer, part) for part in ("A_log", "D", "conv1d"))

    def _is_renamed(self, last: str) -> bool:
        if last not in self._renamed:
            self._renamed[last] = is_renamed_by_peft(self._model, last)
        return self._renamed[last]


def _kind(name: str, module: nn.Module) -> str:
    """Return the reason for a module that is not a Linear."""
    class_name, dims = type(module).__name__, [p.dim() for p in module.parameters(recurse=False)]
    last = name.rpartition(".")[2]
    if isinstance(module, nn.Embedding):
        return EMBEDDING
    if "conv" in class_name.lower():
        return CONVOLUTION
    if "expert" in f"{class_name} {last}".lower():
        return EXPERTS
    if max(dims) > 1 and ("Router" in class_name or "Gate" in class_name or last in {"gate", "router"}):
        return ROUTER
    return VECTORS if max(dims) <= 1 else OTHER


def is_renamed_by_peft(model: Any, last: str) -> bool:
    """Return whether PEFT adapts fused experts for a LoRA that targets modules whose names end in `last`.

    If a model's experts were Linears before transformers 5, PEFT maps such names to the fused experts. A LoRA
    on another Linear of that name (dense layers, shared experts) could then not be loaded again.
    """
    try:
        from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
    except ImportError:  # this PEFT version renames nothing
        return False
    trial = LoraConfig(target_modules=[last])
    try:
        convert_peft_config_for_transformers(trial, model=model, conversions=None)
    except ValueError:  # a part of a fused weight
        return True
    return set(trial.target_modules) != {last}


def _as_recorded(
    reasons: Mapping[str, str | None], modules: Mapping[str, nn.Module], recorded: Sequence[str]
) -> dict[str, str | None]:
    """Keep the sites of the run, regardless of today's rules.

    Raises: TargetError, if one of them is not a Linear of the model.
    """
    for site in recorded:
        if not is_adaptable(modules.get(site)):
            found = type(modules[site]).__name__ if site in modules else "not in the model"
            raise TargetError(
                f"the run adapts '{site}', which is {found}; only Linear and Conv1D layers can be adapted: "
                "start a new run"
            )
    known = set(recorded)
    return {name: None if name in known else reason or UNTARGETED for name, reason in reasons.items()}


def _as_targeted(reasons: Mapping[str, str | None], targets: Sequence[str]) -> dict[str, str | None]:
    """Keep only the targets.

    Raises: TargetError, if PEFT or the model does not support adapting one of them.
    """
    found = {name for target in targets for name in targeted(reasons, target)}
    for name in sorted(found):
        if reasons[name] in {ROUTER, RENAMED}:
            raise TargetError(f"adapter.targets: '{name}' cannot be adapted ({reasons[name]}); remove it")
    return {
        name: (None if reason == MAMBA else reason) if name in found else reason or UNTARGETED
        for name, reason in reasons.items()
    }


def _parameters(modules: Mapping[str, nn.Module]) -> dict[str, int]:
    seen: set[int] = set()
    return {name: sum(_new_sizes(module, seen)) for name, module in modules.items()}


def _new_sizes(module: Any, seen: set[int]) -> Iterator[int]:
    if is_packed_linear(module):  # its weights are integers in buffers
        yield module.in_features * module.out_features
    for parameter in module.parameters(recurse=False):
        if id(parameter) not in seen:
            seen.add(id(parameter))
            packed = getattr(parameter, "quant_state", None)  # of bitsandbytes: a byte holds two weights
            yield parameter.numel() if packed is None else packed.shape.numel()
