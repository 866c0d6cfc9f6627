"""A ready adapter for a run's first task, held against the base model and the task."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from lori_cl import digest
from lori_cl.adapters import ForeignAdapter, tensors_digest
from lori_cl.errors import InputError, one_line
from lori_cl.tasks import kind_of
from lori_cl.training.loading import Stood
from lori_cl.training.stage_file import misfit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Imported:
    """A ready adapter for a run's first task."""

    adapter: ForeignAdapter
    head: Mapping[str, Tensor] | None
    """The state of the task's head; None where there is none, and it is to be trained."""

    @property
    def digest(self) -> str:
        """SHA-256 of all of it that a run takes over."""
        weights = self.adapter.weights
        parts = {"A": weights.a, "B": weights.b, "mask": self.adapter.masks, "head": self.head or {}}
        named = ((f"{part}/{name}", t) for part, of in parts.items() for name, t in sorted(of.items()))
        return digest.of_json({"tensors": tensors_digest(named), "scale": weights.scaling})


def check_base(imported: Imported, base_digest: str) -> None:
    """Make sure that an adapter that lori_cl wrote is imported onto the base model that it was trained on.

    Raises: InputError, with both digests.
    """
    theirs = imported.adapter.base_digest
    if theirs not in (None, base_digest):
        raise InputError(
            f"the adapter was trained on {imported.adapter.base} (digest {str(theirs)[:16]}…) and the "
            f"curriculum's base model has {base_digest[:16]}…; set model to the adapter's, its dtype included"
        )


def fitted(imported: Imported, base: Any) -> Imported:
    """What is imported under the base model's names, without parts that change no answer here.

    A LoRA that was trained under a class with a head has names with a prefix (`bert.`); the head itself is
    left out, since a task has its own. So are sites that the base model lacks and whose updates would act on
    nothing: those whose B is zero, and a pooler's, since no answer is read from it.
    Raises: InputError, if the base model lacks others, or nothing is left, or it replaces the base's weights.
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
            f"the adapter changes {', '.join(lost[:3])}{', …' if len(lost) > 3 else ''}, and the base model "
            f"as lori_cl loads it has no such layer ({len(lost)} of {count} sites; its own have names "
            f"such as {ours}): it was made for another model"
        )
    unread = [*outside, *missing, *imported.adapter.saved]
    if not unread and adapter.weights.b.keys() == imported.adapter.weights.b.keys():
        return imported
    left = adapter.without(missing)
    if not left.weights.acts:
        raise InputError(f"the adapter changes {', '.join(unread)} alone, which changes no answer here")
    if unread:
        log.warning("%s", one_line(f"left out {', '.join(unread)}, which changes no answer here"))
    return replace(imported, adapter=left)


def match_names(sites: Collection[str], known: Collection[str]) -> dict[str, str]:
    """The base model's name for each site, under the one change of a prefix that fits most sites.

    Sites outside of the prefix that is taken off have none.
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
    """Make sure that what the folder holds as a whole is of another class's head.

    Raises: InputError, if it is a part of the base model.
    """
    prefixes = {"", *(site.removesuffix(name) for site, name in names.items())}
    for parameter in saved:
        module = parameter.rpartition(".")[0]
        if any(module.removeprefix(prefix) in known for prefix in prefixes):
            raise InputError(
                f"the adapter brings {parameter} as a whole (modules_to_save), which is more than "
                "alpha / r · B A: it cannot be imported"
            )


def _is_unread(site: str, base: Any) -> bool:
    """Whether it is of the pooler, which `load_base` takes out of an encoder."""
    return site.partition(".")[0] == "pooler" and isinstance(getattr(base, "pooler", None), nn.Identity)


def check_head(imported: Imported, stood: Stood) -> None:
    """Make sure that a head that came with an adapter is one for the run's first task.

    Raises: InputError, with what does not fit.
    """
    first = stood.questions[0]
    head = kind_of(first.spec).head(first.spec, stood.base.width, seed=0)
    wrong = misfit(head or nn.Module(), imported.head) if imported.head is not None else None
    if wrong is not None:
        raise InputError(f"the adapter's head is none for task '{first.label}': {wrong}; remove its file")
