"""A ready adapter for a run's first task, held against the base model and the task."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

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
    """What is imported, without sites that the base model lacks and whose updates would act on nothing.

    Those are sites whose B is zero, and a pooler's, since no answer is read from it.
    Raises: InputError, if the base model lacks others, or nothing is left.
    """
    adapter = imported.adapter
    known = {name for name, _ in base.named_modules()}
    missing = [site for site in adapter.weights.b if site not in known]
    lost = [site for site in missing if bool(adapter.weights.b[site].any()) and not _is_unread(site, base)]
    if lost:
        raise InputError(
            f"the adapter changes {', '.join(lost[:3])}{', …' if len(lost) > 3 else ''}, and the base model "
            f"as lori_cl loads it has no such layer ({len(lost)} of {len(adapter.weights.b)} sites): it was "
            "made for another model"
        )
    if not missing:
        return imported
    left = adapter.without(missing)
    if not left.weights.acts:
        raise InputError(f"the adapter changes {', '.join(missing)} alone, which changes no answer here")
    log.warning("%s", one_line(f"left out {', '.join(missing)}, which changes no answer here"))
    return replace(imported, adapter=left)


def _is_unread(site: str, base: Any) -> bool:
    """Whether it is of the pooler, which `load_base` takes out of an encoder."""
    return site.partition(".")[0] == "pooler" and getattr(base, "pooler", base) is None


def check_head(imported: Imported, stood: Stood) -> None:
    """Make sure that a head that came with an adapter is one for the run's first task.

    Raises: InputError, with what does not fit.
    """
    first = stood.questions[0]
    head = kind_of(first.spec).head(first.spec, stood.base.width, seed=0)
    wrong = misfit(head or nn.Module(), imported.head) if imported.head is not None else None
    if wrong is not None:
        raise InputError(f"the adapter's head is none for task '{first.label}': {wrong}; remove its file")
