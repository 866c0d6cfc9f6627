"""The projections A of LoRI stages: drawing, reserving input directions, checking capacity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters import (
    Bank,
    EarlierStages,
    InputMoments,
    Projections,
    Site,
    draw_projections,
    excluded_directions,
    principal_directions,
    project_out,
)
from lori_cl.errors import CapacityExhausted, TrainingDiverged
from lori_cl.lori_rules import PROJECTIONS
from lori_cl.masks import GRANULARITIES
from lori_cl.methods.lori.stage import LoRIStage
from lori_cl.methods.stages import StageState
from lori_cl.spec import AdapterSpec

MOMENTS_BYTES = 8 * 2**30
"""Maximum bytes of second moments in one pass over the examples: a few layers of Llama-3-8B."""


Protected = Sequence[Mapping[tuple[str, ...], Tensor]]
"""Protected input directions by sites that share an input: of the protected texts, then of each stage."""


class Projector:
    """Provides the projections A of every stage and checks the capacity for new ones.

    The A of a new task can exclude input directions of earlier tasks.
    """

    def __init__(self, sites: Sequence[Site], spec: AdapterSpec, seed: int, drawn: Projections) -> None:
        """`drawn` is the A of every site, drawn from this seed at the spec's rank."""
        self.kind = PROJECTIONS[spec.projection]
        self._sites = sites
        self._spec = spec
        self._seed = seed
        self._drawn = {(seed, spec.rank): drawn}

    def must_store(self, stages: Sequence[LoRIStage]) -> bool:
        """Whether a task after these stages must store its A, because it cannot be drawn again."""
        return self.kind.stored or (not self.kind.per_task and any(stage.projections for stage in stages))

    def shared(self, stages: Sequence[LoRIStage], rank: int) -> Projections:
        """Return each site's A for a run whose tasks share it: drawn, or the A of an imported first stage."""
        drawn = self._draw(self._seed, rank)
        imported = stages[0].projections if stages else None
        if imported is None or rank == stages[0].rank:
            return imported or drawn
        return {site: torch.cat([a, drawn[site][stages[0].rank :]]) for site, a in imported.items()}

    def of_stage(self, stages: Sequence[LoRIStage], position: int) -> Projections:
        """Return each site's A with which the stage at this position, from 0, was trained."""
        stage = stages[position]
        if stage.projections is not None:
            return stage.projections
        if not self.kind.per_task:
            return self.shared(stages, stage.rank)
        assert stage.seed is not None, "a stage with its own A records the seed of the A"
        return self._draw(stage.seed, stage.rank)

    def trained_under(self, history: Sequence[StageState], stages: Sequence[LoRIStage]) -> list[Projections]:
        """Return each site's A with which each finished stage was trained, given the stages active then."""
        found = []
        for position in range(1, len(stages) + 1):
            pairs = zip(history[:position], stages, strict=False)
            active_stages = [stage for state, stage in pairs if state.is_active_after(position)]
            found.append(self.of_stage(active_stages, len(active_stages) - 1))
        return found

    def banks(
        self, stages: Sequence[LoRIStage], opening: Projections | None = None, *, sums: bool = False
    ) -> list[Bank]:
        """Return the banks of these stages; with `opening`, the last bank has these A for cells to be opened.

        `sums`: a cell claimed by several stages holds the sum of their values.
        """
        if not self.kind.per_task:
            rank = max((stage.rank for stage in stages), default=self._spec.rank)
            return [Bank(opening or self.shared(stages, rank), [stage.cells for stage in stages], sums)]
        banks = [Bank(self.of_stage(stages, i), [stage.cells]) for i, stage in enumerate(stages)]
        return [*banks, Bank(opening)] if opening is not None else banks

    def new_projections(
        self,
        task: str,
        stages: Sequence[LoRIStage],
        protected: Protected,
        seed: int,
        rank: int,
    ) -> Projections:
        """Return a new task's projections A, which exclude the `protected` input directions.

        Raises: CapacityExhausted, if a site has too few free directions.
        """
        if not self.kind.per_task:
            return self.shared(stages, rank)
        drawn = self._draw(seed, rank)
        excluded = protected if self.kind.gathers_inputs else stages
        if self.kind.excludes is None or not excluded:
            return drawn
        earlier = [self.of_stage(stages, position) for position in range(len(stages))]
        new = {}
        for site in self._sites:
            past = EarlierStages(
                [each[site.name] for each in earlier], self.reserved_directions(protected, site)
            )
            directions = excluded_directions(self.kind, past)
            self._check_directions(task, site, directions.shape[1], rank)
            new[site.name] = project_out(drawn[site.name], directions)
        return new

    def check_capacity(self, ranks: Mapping[str, int], taken: int) -> None:
        """Check that every site has enough input directions for the projections A of these tasks.

        The directions that the inputs of untrained tasks will reserve are not known yet.
        `ranks` holds every task's rank, in training order; `taken` is the sum of the trained tasks' ranks.
        Raises: CapacityExhausted, naming the first task that does not fit.
        """
        if self.kind.excludes is None:
            return
        gathers = self.kind.gathers_inputs
        for task, rank in ranks.items():
            for site in self._sites if taken or not gathers else ():  # the first A excludes no directions
                self._check_directions(task, site, 0 if gathers else taken, rank)
            taken += rank

    def reserved_directions(self, protected: Protected, site: Site) -> Float[Tensor, "d_in k"]:
        """Return the input directions that are protected at the site, orthonormal, float64."""
        parts = [u for inputs in protected for sites, u in inputs.items() if site.name in sites]
        return torch.cat([torch.zeros(site.in_features, 0), *parts], dim=1).double()

    def new_directions(
        self, protected: Protected, moments: InputMoments
    ) -> Mapping[tuple[str, ...], Float[Tensor, "d_in k"]]:
        """Return the directions that a task newly reserves, by sites that share an input.

        Raises: TrainingDiverged, if an input is not finite.
        """
        settings, by_name = self._spec.null_space, {site.name: site for site in self._sites}
        found = {}
        for leader, sites in moments.sites.items():
            moment = moments.sums[leader]
            if not bool(moment.isfinite().all()):
                raise TrainingDiverged(
                    f"the inputs of {', '.join(sites)} are not finite: lower train.lr, or set "
                    "model.dtype to bfloat16 or float32"
                )
            known, dtype = (
                self.reserved_directions(protected, by_name[leader]).to(moment.device),
                moments.dtypes[leader],
            )
            new = principal_directions(moment, known, settings.energy, settings.max_directions, dtype)
            found[tuple(sites)] = new.float().cpu()
        return found

    def _check_directions(self, task: str, site: Site, taken: int, rank: int) -> None:
        needed = self.kind.directions_needed(rank, self._spec.null_space.min_free) or rank
        free = site.in_features - taken
        if free < needed:
            raise CapacityExhausted(
                f"task '{task}' needs {needed:,} free input directions at every site; {site.name} has "
                f"{free:,} of {site.in_features:,} left. {self._remedy(taken)}"
            )

    def _remedy(self, taken: int) -> str:
        lower = "adapter.null_space.min_free" if self._spec.null_space.min_free else "adapter.rank"
        if not taken:
            return f"Start a new run with a lower {lower}."
        of_inputs = f"a lower adapter.null_space.energy or {lower}, adapter.null_space.max_directions set"
        other = (
            of_inputs if self.kind.gathers_inputs else "a lower adapter.rank, adapter.projection: per-task"
        )
        return (
            f"Start a new run with {other}, or with fewer tasks. Or free the directions of trained tasks: "
            "lori-cl retire-task RUN TASK."
        )

    def _draw(self, seed: int, rank: int) -> Projections:
        if (seed, rank) in self._drawn:
            return self._drawn[seed, rank]
        drawn = draw_projections(self._sites, seed, self._spec.distribution, rank - self._spec.rank)
        if not self.kind.stored:  # stored projections are never drawn again
            self._drawn[seed, rank] = drawn
        return drawn


def site_batches(sites: Sequence[Site], limit_bytes: int = MOMENTS_BYTES) -> list[list[str]]:
    """Return groups of sites whose second moments fit into memory together; a layer is never divided.

    Sites of one layer may share an input, which is detected only if one pass covers all of them.
    """
    layer_of = GRANULARITIES["layer"]
    layers: dict[str, list[Site]] = {}
    for site in sites:
        layers.setdefault(layer_of(site.name), []).append(site)
    groups: list[list[str]] = []
    left_bytes = 0
    for layer in layers.values():
        needed = sum(8 * site.in_features**2 for site in layer)  # float64, if no input is shared
        if not groups or needed > left_bytes:
            groups.append([])
            left_bytes = limit_bytes
        groups[-1] += [site.name for site in layer]
        left_bytes -= needed
    return groups
