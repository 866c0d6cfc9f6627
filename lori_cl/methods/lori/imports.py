"""Check that an imported adapter fits a curriculum with method lori."""

from __future__ import annotations

from collections.abc import Sequence

from lori_cl.adapters import ExternalAdapter, Site
from lori_cl.errors import InputError
from lori_cl.spec import AdapterSpec


def check_sites(imported: ExternalAdapter, sites: Sequence[Site], spec: AdapterSpec) -> None:
    """Check that the adapter's rank, scale and sites are the curriculum's.

    Raises: InputError, naming the settings to change.
    """
    if (imported.rank, imported.alpha) != (spec.rank, spec.alpha):
        raise InputError(
            f"the adapter has r = {imported.rank} and lora_alpha = {imported.alpha:g}, but the curriculum "
            f"has adapter.rank: {spec.rank} and adapter.alpha: {spec.alpha:g}; set them to the adapter's"
        )
    theirs = {site: (b.shape[0], imported.weights.a[site].shape[1]) for site, b in imported.weights.b.items()}
    ours = {site.name: (site.out_features, site.in_features) for site in sites}
    if theirs.keys() != ours.keys():
        names = sorted({site.rsplit(".", 1)[-1] for site in theirs})
        targets = sorted(theirs) if names == sorted(spec.targets) else names  # short names select other sites
        differing = sorted(theirs.keys() ^ ours.keys())
        raise InputError(
            f"the adapter changes {len(theirs)} sites and adapter.targets selects {len(ours)}; "
            f"'{differing[0]}' is in only one of them. Set adapter.targets: [{', '.join(targets)}], "
            "if it is for this base model"
        )
    for site, shape in theirs.items():
        if shape != ours[site]:
            raise InputError(
                f"the adapter's {site} is (out, in) = {shape} but the base model's is {ours[site]}; use the "
                "model that the adapter was trained on"
            )
