"""What each task's update has to do with every other's, and how well that foretells forgetting."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from lori_cl.adapters import (
    LoRAWeights,
    Site,
    delta_cosine,
    lora_layers,
    output_energy,
    projection_cosines,
    record_inputs,
)
from lori_cl.masks import Mask
from lori_cl.methods.passes import passes
from lori_cl.registry import Evaluation
from lori_cl.spec import View
from lori_cl.training import LoadedRun

EXAMPLES = 256
"""Eval inputs of a task that its second moments are gathered over."""


@dataclass(frozen=True)
class SiteInterference:
    """A later task's update beside an earlier one's, at one site."""

    site: str
    cosine: float
    """Between the two ΔW as vectors."""
    angles: Sequence[float]
    """Cosines of the principal angles between their A's, largest first: 1 where they share a direction."""
    shared_cells: int | None
    """Cells of B that both own; None for a method whose tasks own none."""
    ratio: float
    """‖Δ_later x‖ / ‖Δ_earlier x‖, root mean square over the earlier task's eval inputs."""


@dataclass(frozen=True)
class Pair:
    """An earlier task and a later one."""

    earlier: str
    later: str
    sites: Sequence[SiteInterference]
    change: float | None
    """What the earlier task's score changed by in the current view when the later one was learned; None where
    that was not scored, or a task was retired between."""

    @property
    def ratio(self) -> float:
        """Root mean square of the sites' ratios; sites where the earlier task has no update are left out."""
        squares = [s.ratio**2 for s in self.sites if math.isfinite(s.ratio)]
        return math.sqrt(float(np.mean(squares))) if squares else math.nan

    def to_record(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "earlier": self.earlier,
            "later": self.later,
            "ratio": None if math.isnan(self.ratio) else self.ratio,
            "change": self.change,
            "sites": [asdict(s) | {"ratio": s.ratio if math.isfinite(s.ratio) else None} for s in self.sites],
        }


def interference(
    loaded: LoadedRun, evaluations: Sequence[Evaluation], examples: int = EXAMPLES
) -> list[Pair]:
    """Every pair of learned tasks, the earlier one's inputs as its own cells leave them."""
    updates = [loaded.update(position) for position in range(len(loaded.history))]
    masks = [loaded.method.mask_of(memory.learned) for memory in loaded.history]
    tasks = [memory.learned.task for memory in loaded.history]
    changes = _changes(evaluations, {stage.retired_after for stage in loaded.run.stages})
    pairs = []
    for early in range(len(updates) - 1):
        found: dict[int, list[SiteInterference]] = {late: [] for late in range(early + 1, len(updates))}
        for moments in _eval_moments(loaded, early, updates[early].sites, examples):
            for site, moment in moments.items():
                own = output_energy(updates[early], site, moment)
                for late, sites in found.items():
                    cells = _shared(site, masks[early], masks[late])
                    energies = own, output_energy(updates[late], site, moment)
                    sites.append(_at_site(site, updates[early], updates[late], energies, cells))
        pairs += [
            Pair(tasks[early], tasks[late], sites, changes.get((late + 1, tasks[early])))
            for late, sites in found.items()
        ]
    return pairs


def rank_correlation(pairs: Sequence[Pair]) -> tuple[float, int] | None:
    """Spearman's ρ between the ratio and the loss of the earlier task, and over how many pairs; None where
    fewer than three have both."""
    told = [(p.ratio, -p.change) for p in pairs if p.change is not None and math.isfinite(p.ratio)]
    if len(told) < 3:
        return None
    ratios, losses = ([pair[i] for pair in told] for i in (0, 1))
    rho = float(spearmanr(ratios, losses).statistic)
    return None if math.isnan(rho) else (rho, len(told))


def _at_site(
    site: str,
    early: LoRAWeights,
    late: LoRAWeights,
    energies: tuple[float, float],
    shared_cells: int | None,
) -> SiteInterference:
    """`energies` are Σ ‖ΔW x‖² of both over the earlier task's inputs."""
    own, other = energies
    return SiteInterference(
        site=site,
        cosine=delta_cosine(early, late, site),
        angles=projection_cosines(early, late, site).tolist(),
        shared_cells=shared_cells,
        ratio=math.sqrt(max(other, 0.0) / own) if own > 0 else math.inf,
    )


def _shared(site: str, early: Mask | None, late: Mask | None) -> int | None:
    if early is None or late is None:
        return None
    rank = min(early.rank, late.rank)  # what one has grown beyond, the other cannot own
    return int((early.by_site[site][:, :rank] & late.by_site[site][:, :rank]).sum())


@torch.no_grad()
def _eval_moments(
    loaded: LoadedRun, position: int, sites: Sequence[Site], examples: int
) -> Iterator[Mapping[str, torch.Tensor]]:
    """By site, Σ x xᵀ over a task's eval inputs, as they are while its as_trained cells act.

    On the model's device, and as many sites at a time as fit into its memory.
    """
    question = loaded.questions[position]
    loaded.method.activate(loaded.acting(question.label))
    model = loaded.model.eval()
    layers, chosen = lora_layers(model), question.examples[:examples]
    for names in passes(sites):
        with record_inputs(model, {name: layers[name] for name in names}) as moments:
            for start in range(0, len(chosen), question.batch_size):
                batch = chosen[start : start + question.batch_size]
                model(**question.prompt_batch(loaded.base.tokenizer, batch, model.device))
        yield {site: moments.sums[leader] for leader, fed in moments.sites.items() for site in fed}


def _changes(
    evaluations: Sequence[Evaluation], retirements: Collection[int | None]
) -> dict[tuple[int, str], float]:
    """By (stage, task): the score in the current view, less the one a stage earlier; but for where a task was
    retired between, whose cells were then switched off, too."""
    current = {(e.stage, e.task): e.score for e in evaluations if e.view == View.CURRENT}
    return {
        (stage, task): score - current[stage - 1, task]
        for (stage, task), score in current.items()
        if (stage - 1, task) in current and stage - 1 not in retirements
    }
