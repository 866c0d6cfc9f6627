"""Interference of the updates of each pair of tasks, and its correlation with forgetting."""

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
from lori_cl.evaluation import LoadedRun
from lori_cl.masks import Mask
from lori_cl.methods import MaskedMethod
from lori_cl.methods.lori.projections import site_batches
from lori_cl.model_traits import input_device
from lori_cl.registry import Evaluation
from lori_cl.runtime.memory import memory_errors
from lori_cl.spec import View

EXAMPLES = 256
"""Number of eval inputs per task over which second moments are computed."""


@dataclass(frozen=True)
class SiteInterference:
    """The update of a later task compared with that of an earlier task, at one site."""

    site: str
    cosine: float
    """Cosine between the two ΔW as vectors."""
    angles: Sequence[float]
    """Cosines of the principal angles between their projections A, largest first; 1 is a shared direction."""
    shared_cells: int | None
    """Cells of B that both tasks own; None for a method whose tasks own no cells."""
    ratio: float
    """‖Δ_later x‖ / ‖Δ_earlier x‖, as root mean squares over the eval inputs of the earlier task."""


@dataclass(frozen=True)
class TaskPair:
    """An earlier and a later task."""

    earlier: str
    later: str
    sites: Sequence[SiteInterference]
    change: float | None
    """Change of the earlier task's score in the current view when the later task was trained.

    None if it was not scored, or a task was retired in between.
    """

    @property
    def ratio(self) -> float:
        """Root mean square of the sites' ratios, without sites where the earlier task has no update."""
        squares = [s.ratio**2 for s in self.sites if math.isfinite(s.ratio)]
        return math.sqrt(float(np.mean(squares))) if squares else math.nan

    def to_record(self) -> dict[str, Any]:
        """Return the pair as JSON values."""
        return {
            "earlier": self.earlier,
            "later": self.later,
            "ratio": None if math.isnan(self.ratio) else self.ratio,
            "change": self.change,
            "sites": [asdict(s) | {"ratio": s.ratio if math.isfinite(s.ratio) else None} for s in self.sites],
        }


def interference(
    loaded: LoadedRun, evaluations: Sequence[Evaluation], examples: int = EXAMPLES
) -> list[TaskPair]:
    """Compare every pair of trained tasks, on the site inputs of the earlier task in its as_trained view."""
    updates = [loaded.update(position) for position in range(len(loaded.history))]
    method = loaded.method
    masks = [method.mask_of(state) if isinstance(method, MaskedMethod) else None for state in loaded.history]
    tasks = [state.task for state in loaded.history]
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
            TaskPair(tasks[early], tasks[late], sites, changes.get((late + 1, tasks[early])))
            for late, sites in found.items()
        ]
    return pairs


def rank_correlation(pairs: Sequence[TaskPair]) -> tuple[float, int] | None:
    """Return Spearman's ρ between ratio and score loss of the earlier task, and the number of pairs.

    None if fewer than three pairs have both, or ρ is undefined.
    """
    known = [(p.ratio, -p.change) for p in pairs if p.change is not None and math.isfinite(p.ratio)]
    if len(known) < 3:
        return None
    ratios, losses = ([pair[i] for pair in known] for i in (0, 1))
    rho = float(spearmanr(ratios, losses).statistic)
    return None if math.isnan(rho) else (rho, len(known))


def _at_site(
    site: str,
    early: LoRAWeights,
    late: LoRAWeights,
    energies: tuple[float, float],
    shared_cells: int | None,
) -> SiteInterference:
    """Compare two updates; `energies` are Σ ‖ΔW x‖² of both over the earlier task's inputs."""
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
    rank = min(early.rank, late.rank)  # the other task owns no cells beyond its rank
    return int((early.by_site[site][:, :rank] & late.by_site[site][:, :rank]).sum())


@torch.no_grad()
def _eval_moments(
    loaded: LoadedRun, position: int, sites: Sequence[Site], examples: int
) -> Iterator[Mapping[str, torch.Tensor]]:
    """Yield Σ x xᵀ by site over a task's eval inputs, in the task's as_trained view.

    The sums are on the model's device; each item has as many sites as fit into its memory.
    """
    eval_task = loaded.eval_tasks[position]
    loaded.method.activate(loaded.acting(eval_task.label))
    model = loaded.model.eval()
    layers, chosen = lora_layers(model), eval_task.examples[:examples]
    for names in site_batches(sites):
        with (
            memory_errors(f"measuring the inputs of {eval_task.label}"),
            record_inputs(model, {name: layers[name] for name in names}) as moments,
        ):
            for start in range(0, len(chosen), eval_task.batch_size):
                batch = chosen[start : start + eval_task.batch_size]
                model(**eval_task.prompt_batch(loaded.base.tokenizer, batch, input_device(model)))
        yield {site: moments.sums[leader] for leader, sharing in moments.sites.items() for site in sharing}


def _changes(
    evaluations: Sequence[Evaluation], retirements: Collection[int | None]
) -> dict[tuple[int, str], float]:
    """Return, by (stage, task), the change of the score in the current view since the previous stage.

    Stages after a retirement are left out: the retired task's cells were switched off at the same time.
    """
    current = {(e.stage, e.task): e.score for e in evaluations if e.view == View.CURRENT}
    return {
        (stage, task): score - current[stage - 1, task]
        for (stage, task), score in current.items()
        if (stage - 1, task) in current and stage - 1 not in retirements
    }
