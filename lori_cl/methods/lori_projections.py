"""Which A a stage of LoRI stands on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters import (
    PROJECTIONS,
    Bank,
    InputMoments,
    Past,
    Projections,
    Site,
    blind,
    draw_projections,
    principal_directions,
)
from lori_cl.errors import CapacityExhausted, TrainingDiverged
from lori_cl.methods.base import Learned
from lori_cl.methods.lori_stage import LoRIStage
from lori_cl.spec import AdapterSpec


class Projector:
    """Draws A's, keeps new ones away from what earlier tasks use, and counts what room is left."""

    def __init__(self, sites: Sequence[Site], spec: AdapterSpec, seed: int, drawn: Projections) -> None:
        """`drawn` is every site's A of this seed, at the spec's rank."""
        self.kind = PROJECTIONS[spec.projection]
        self._sites = sites
        self._spec = spec
        self._seed = seed
        self._drawn = {(seed, spec.rank): drawn}

    def keeps(self, stages: Sequence[LoRIStage]) -> bool:
        """Whether a task that begins after these stages must keep its A's, as they cannot be drawn again."""
        return self.kind.stored or (not self.kind.per_task and any(stage.projections for stage in stages))

    def shared(self, stages: Sequence[LoRIStage], rank: int) -> Projections:
        """The one A of every site for a run that shares it: drawn, or that of an imported stage, which
        all stages on top of it keep."""
        drawn = self._draw(self._seed, rank)
        imported = stages[0].projections if stages else None
        if imported is None or rank == stages[0].rank:
            return imported or drawn
        return {site: torch.cat([a, drawn[site][stages[0].rank :]]) for site, a in imported.items()}

    def of_stage(self, stages: Sequence[LoRIStage], position: int) -> Projections:
        """The A of every site that the stage at this position, from 0, was trained under."""
        stage = stages[position]
        if stage.projections is not None:
            return stage.projections
        if not self.kind.per_task:
            return self.shared(stages, stage.rank)
        assert stage.seed is not None, "a stage with an A of its own records what it was drawn from"
        return self._draw(stage.seed, stage.rank)

    def trained_under(self, history: Sequence[Learned], stages: Sequence[LoRIStage]) -> list[Projections]:
        """The A of every site that each finished stage was trained under, beside those that acted then."""
        found = []
        for position in range(1, len(stages) + 1):
            pairs = zip(history[:position], stages, strict=False)
            standing = [stage for learned, stage in pairs if learned.acts_after(position)]
            found.append(self.of_stage(standing, len(standing) - 1))
        return found

    def banks(
        self, stages: Sequence[LoRIStage], opening: Projections | None = None, *, sums: bool = False
    ) -> list[Bank]:
        """What acts after these stages; with `opening`, the last bank has these A's, for cells to be opened.

        `sums` says what a cell of several stages holds.
        """
        if not self.kind.per_task:
            rank = max((stage.rank for stage in stages), default=self._spec.rank)
            return [Bank(opening or self.shared(stages, rank), [stage.cells for stage in stages], sums)]
        banks = [Bank(self.of_stage(stages, i), [stage.cells]) for i, stage in enumerate(stages)]
        return [*banks, Bank(opening)] if opening is not None else banks

    def fresh(
        self,
        task: str,
        stages: Sequence[LoRIStage],
        feeding: Sequence[LoRIStage],
        seed: int,
        rank: int,
    ) -> Projections:
        """The A's of a task that begins after these stages; out of what is fed by `feeding` they keep.

        Raises: CapacityExhausted, if a site has too few directions left.
        """
        if not self.kind.per_task:
            return self.shared(stages, rank)
        drawn = self._draw(seed, rank)
        if self.kind.avoids is None or not stages:
            return drawn
        earlier = [self.of_stage(stages, position) for position in range(len(stages))]
        made = {}
        for site in self._sites:
            past = Past([each[site.name] for each in earlier], self.taken(feeding, site))
            directions = self.kind.avoids(past)
            self._check_directions(task, site, directions.shape[1], rank)
            made[site.name] = blind(drawn[site.name], directions)
        return made

    def check_room(self, ranks: Mapping[str, int], taken: int) -> None:
        """Make sure that A's that must be orthogonal to each other find room, and that a site has as many
        inputs as must stay free; what earlier tasks' inputs take is not known yet.

        `ranks` holds every task's, in the order of learning; `taken`, the ranks of those learned, together.
        Raises: CapacityExhausted, naming the first task that does not fit.
        """
        if self.kind.avoids is None:
            return
        gathers = self.kind.gathers_inputs
        for task, rank in ranks.items():
            for site in self._sites if taken or not gathers else ():  # a first A is blind to nothing
                self._check_directions(task, site, 0 if gathers else taken, rank)
            taken += rank

    def taken(self, feeding: Sequence[LoRIStage], site: Site) -> Float[Tensor, "d_in k"]:
        """The directions that these stages feed into the site, orthonormal, float64."""
        parts = [u for stage in feeding for sites, u in stage.inputs.items() if site.name in sites]
        return torch.cat([torch.zeros(site.in_features, 0), *parts], dim=1).double()

    def newly_taken(
        self, feeding: Sequence[LoRIStage], moments: InputMoments
    ) -> Mapping[tuple[str, ...], Float[Tensor, "d_in k"]]:
        """By the sites that share an input, the directions that a task takes of it beside the earlier
        ones'.

        Raises: TrainingDiverged, if an input was no number.
        """
        settings, by_name = self._spec.null_space, {site.name: site for site in self._sites}
        found = {}
        for leader, sites in moments.sites.items():
            moment = moments.sums[leader]
            if not bool(moment.isfinite().all()):
                raise TrainingDiverged(
                    f"what {', '.join(sites)} reads of the task is not finite: set train.lr lower, or "
                    "model.dtype to bfloat16 or float32"
                )
            known, dtype = self.taken(feeding, by_name[leader]).to(moment.device), moments.dtypes[leader]
            new = principal_directions(moment, known, settings.energy, settings.max_directions, dtype)
            found[tuple(sites)] = new.float().cpu()
        return found

    def _check_directions(self, task: str, site: Site, taken: int, rank: int) -> None:
        needed = rank
        if self.kind.gathers_inputs:
            needed = self._spec.null_space.min_free or rank
        free = site.in_features - taken
        if free < needed:
            raise CapacityExhausted(
                f"task '{task}' needs {needed:,} free input directions at every site; {site.name} has "
                f"{free:,} of {site.in_features:,} left. {self._remedy(taken)}"
            )

    def _remedy(self, taken: int) -> str:
        lower = "adapter.null_space.min_free" if self._spec.null_space.min_free else "adapter.rank"
        if not taken:
            return f"Begin a new run with {lower} lower."
        of_inputs = f"adapter.null_space.energy or {lower} lower, adapter.null_space.max_directions set"
        other = of_inputs if self.kind.gathers_inputs else "adapter.rank lower, adapter.projection: per-task"
        return (
            f"Begin a new run with {other}, or with fewer tasks. Or free what learned tasks take: "
            "lori-cl retire-task RUN TASK."
        )

    def _draw(self, seed: int, rank: int) -> Projections:
        if (seed, rank) in self._drawn:
            return self._drawn[seed, rank]
        drawn = draw_projections(self._sites, seed, self._spec.distribution, rank - self._spec.rank)
        if not self.kind.stored:  # what is made of it is kept, and never drawn again
            self._drawn[seed, rank] = drawn
        return drawn
