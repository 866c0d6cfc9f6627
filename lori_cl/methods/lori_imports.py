"""Whether an adapter from elsewhere fits a curriculum of LoRI."""

from __future__ import annotations

from collections.abc import Sequence

from lori_cl.adapters import ForeignAdapter, Site
from lori_cl.errors import InputError
from lori_cl.spec import AdapterSpec

IMPORTED = "imported"
"""The mask strategy of a stage that was not trained here."""


def check_sites(imported: ForeignAdapter, sites: Sequence[Site], spec: AdapterSpec) -> None:
    """Make sure that the adapter's rank, scale and sites are the curriculum's.

    Raises: InputError, with what to set.
    """
    if (imported.rank, imported.alpha) != (spec.rank, spec.alpha):
        raise InputError(
            f"the adapter has r = {imported.rank} and lora_alpha = {imported.alpha:g}, and the curriculum "
            f"adapter.rank: {spec.rank} and adapter.alpha: {spec.alpha:g}; set them to the adapter's"
        )
    theirs = {site: (b.shape[0], imported.weights.a[site].shape[1]) for site, b in imported.weights.b.items()}
    ours = {site.name: (site.out_features, site.in_features) for site in sites}
    if theirs.keys() != ours.keys():
        names = sorted({site.rsplit(".", 1)[-1] for site in theirs})
        targets = sorted(theirs) if names == sorted(spec.targets) else names  # where names did not do
        odd = sorted(theirs.keys() ^ ours.keys())
        raise InputError(
            f"the adapter changes {len(theirs)} sites and adapter.targets names {len(ours)}; '{odd[0]}' is "
            f"in one of them only. Set adapter.targets: [{', '.join(targets)}], if it is of this base model"
        )
    for site, shape in theirs.items():
        if shape != ours[site]:
            raise InputError(
                f"the adapter's {site} is (out, in) = {shape} and the base model's {ours[site]}: it was made "
                "for another model"
            )
