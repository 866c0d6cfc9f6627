"""Check an adapter to import for a run's first task against the base model and the task."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from lori_cl import digest
from lori_cl.adapters import ExternalAdapter, tensors_digest
from lori_cl.errors import InputError, one_line
from lori_cl.evaluation.loaded_run import LoadedModel
from lori_cl.evaluation.stage_file import head_mismatch
from lori_cl.tasks import kind_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportedAdapter:
    """An adapter to import for a run's first task."""

    adapter: ExternalAdapter
    head: Mapping[str, Tensor] | None
    """State dict of the task's head; None: train the head, if the task needs one."""

    @property
    def digest(self) -> str:
        """SHA-256 of everything that is imported."""
        weights = self.adapter.weights
        parts = {"A": weights.a, "B": weights.b, "mask": self.adapter.masks, "head": self.head or {}}
        named = ((f"{part}/{name}", t) for part, of in parts.items() for name, t in sorted(of.items()))
        return digest.of_json({"tensors": tensors_digest(named), "scale": weights.scaling})


def check_base(imported: ImportedAdapter, base_digest: str) -> None:
    """Check that an adapter exported by lori_cl is imported for the base model that it was trained on.

    Raises: InputError, with both digests.
    """
    theirs = imported.adapter.base_digest
    if theirs not in (None, base_digest):
        raise InputError(
            f"the adapter was trained on {imported.adapter.base} (digest {str(theirs)[:16]}…), but the "
            f"curriculum's base model has {base_digest[:16]}…; set model to the adapter's and its dtype"
        )


def fit_to_model(imported: ImportedAdapter, base: Any) -> ImportedAdapter:
    """Rename the adapter's sites to the base model's names and drop the parts that affect no output here.

    A LoRA trained on a model class with a head has names with a prefix (`bert.`). The head itself is dropped,
    because the task has its own. Sites that the base model lacks are dropped if their B is zero or if they
    belong to the pooler, which no output is read from.
    Raises: InputError, if the base model lacks other sites, no effective site is left, or the adapter
    replaces base weights.
    """
    known = {name for name, _ in base.named_modules()}
    names = match_names(imported.adapter.weights.b, known)
    _check_saved(imported.adapter.saved, names, known)
    outside = [site for site in imported.adapter.weights.b if site not in names]
    adapter = imported.adapter.renamed(names)
    missing = [site for site in adapter.weights.b if site not in known]
    lost = [site for site in missing if bool(adapter.weights.b[site].any()) and not _is_unread(site, base)]
    lost += [site for site in outside if site in known]
    if lost:
        count = len(imported.adapter.weights.b)
        ours = next((n for n, m in base.named_modules() if isinstance(m, LoraLayer)), "no Linear")
        raise InputError(
            f"the adapter changes {', '.join(lost[:3])}{', …' if len(lost) > 3 else ''}, but the base model "
            f"as lori_cl loads it has no such layer ({len(lost)} of {count} sites; its layers have names "
            f"such as {ours}); use the model that the adapter was trained on"
        )
    unread = [*outside, *missing, *imported.adapter.saved]
    if not unread and adapter.weights.b.keys() == imported.adapter.weights.b.keys():
        return imported
    left = adapter.without(missing)
    if not left.weights.nonzero:
        raise InputError(f"the adapter changes only {', '.join(unread)}, which affects no output here")
    if unread:
        log.warning("%s", one_line(f"ignored {', '.join(unread)}, which affects no output here"))
    return replace(imported, adapter=left)


def match_names(sites: Collection[str], known: Collection[str]) -> dict[str, str]:
    """Map each site to a base model's name by adding or removing the one prefix that matches most sites.

    Sites without a removed prefix are left out.
    """
    one = next((site for site in sites if site not in known), None)
    if one is None:
        return {site: site for site in sites}
    parts = one.split(".")
    removed = [".".join(parts[:end]) + "." for end in range(1, len(parts))]
    added = [name.removesuffix(one) for name in sorted(known) if name.endswith(f".{one}")]
    changes = [("", ""), *((prefix, "") for prefix in removed), *(("", prefix) for prefix in added)]
    found = [
        {site: new + site.removeprefix(old) for site in sites if site.startswith(old)} for old, new in changes
    ]
    return max(found, key=lambda names: sum(name in known for name in names.values()))


def _check_saved(saved: Sequence[str], names: Mapping[str, str], known: Collection[str]) -> None:
    """Check that parameters saved in full belong to a head and not to the base model.

    Raises: InputError, naming a parameter of the base model.
    """
    prefixes = {"", *(site.removesuffix(name) for site, name in names.items())}
    for parameter in saved:
        module = parameter.rpartition(".")[0]
        if any(module.removeprefix(prefix) in known for prefix in prefixes):
            raise InputError(
                f"the adapter replaces {parameter} in full (modules_to_save), which is more than "
                "alpha / r · B A: it cannot be imported"
            )


def _is_unread(site: str, base: Any) -> bool:
    """Whether the site belongs to the pooler, which `load_base` removes from an encoder."""
    return site.partition(".")[0] == "pooler" and isinstance(getattr(base, "pooler", None), nn.Identity)


def check_head(imported: ImportedAdapter, loaded: LoadedModel) -> None:
    """Check that an imported head fits the run's first task.

    Raises: InputError, naming the mismatch.
    """
    first = loaded.eval_tasks[0]
    head = kind_of(first.spec).head(first.spec, loaded.base.width, seed=0)
    mismatch = head_mismatch(head or nn.Module(), imported.head) if imported.head is not None else None
    if mismatch is not None:
        raise InputError(f"the adapter's head does not fit task '{first.label}': {mismatch}; remove its file")
