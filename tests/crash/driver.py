"""Kills at random times and faults at named places; after each, a look at what is left, and a resume."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lori_cl.registry import Workspace

from . import children
from .faults import Fault, How
from .laboratory import SCENARIOS, Laboratory, check_sound, outcome

Say = Callable[[str], None]


@dataclass
class Reference:
    """What a run gives that nobody disturbs."""

    outcome: dict[str, Any]
    seconds: float
    passed: list[str]


@dataclass
class Tally:
    """What was done, and where the kills hit."""

    kills: int = 0
    runs: int = 0
    """Killed runs that were brought to their end and compared."""
    stages_done: Counter[int] = field(default_factory=Counter)
    """Committed stages at each kill."""
    in_training: int = 0
    """Kills that found a checkpoint."""


class Driver:
    """One laboratory, and what its runs must come to."""

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory
        laboratory.prepare()
        self._references = {name: self._reference(name) for name in SCENARIOS}

    def kill(self, kills: int, seed: int, say: Say) -> Tally:
        """Kill at random times until there were so many kills; every run is gone on with until it is done."""
        draw, tally = random.Random(seed), Tally()
        while tally.kills < kills:
            scenario = draw.choice(list(SCENARIOS))
            reference, workspace = self._references[scenario], self._laboratory.fresh()
            while True:
                after = draw.uniform(0, 1.2 * reference.seconds) if tally.kills < kills else None
                ended = self._run(workspace, scenario, kill_after_s=after)
                if ended.code is not None:
                    break
                tally.kills += 1
                tally.stages_done[_stages(workspace)] += 1
                tally.in_training += any(workspace.checkpoints.glob("*/*/checkpoint-*"))
                check_sound(workspace)
            self._compare(workspace, scenario, ended)
            tally.runs += 1
            say(f"{tally.kills} kills, {tally.runs} runs compared")
        return tally

    def places(self) -> list[tuple[str, str, int]]:
        """(scenario, point, occurrence) of every place that a run passes."""
        found = []
        for scenario, reference in self._references.items():
            seen: Counter[str] = Counter()
            for point in reference.passed:
                seen[point] += 1
                found.append((scenario, point, seen[point]))
        return found

    def one_of_each(self, seed: int) -> list[tuple[str, str, int]]:
        """Of every named place, one occurrence."""
        places = self.places()
        random.Random(seed).shuffle(places)
        return list({point: (scenario, point, n) for scenario, point, n in places}.values())

    def fail(self, scenario: str, point: str, occurrence: int, how: How) -> None:
        """Let a run fail at a place, look at what is left, and go on."""
        workspace = self._laboratory.fresh()
        ended = self._run(workspace, scenario, fault=Fault(point, occurrence, how))
        where = f"{scenario}, {point}, occurrence {occurrence}, {how}"
        if how == "kill":
            assert ended.code is None, f"{where}: the place was not reached"
        else:
            lines = ended.err.strip().splitlines()
            assert ended.code in (1, 2), f"{where}: {ended.err}"
            assert lines[-1].startswith("WorkspaceUnusable: "), f"{where}: {ended.err}"
            assert "Traceback" not in ended.err, f"{where}: {ended.err}"
        check_sound(workspace)
        self._compare(workspace, scenario, self._run(workspace, scenario))

    def _reference(self, scenario: str) -> Reference:
        workspace = self._laboratory.fresh()
        ended = self._run(workspace, scenario)
        assert ended.code == 0, ended.err
        check_sound(workspace)
        return Reference(outcome(workspace), ended.seconds, list(ended.passed))

    def _run(self, workspace: Workspace, scenario: str, **how: Any) -> children.Ended:
        arguments = self._laboratory.command(workspace, scenario)
        return children.run(arguments, self._laboratory.folder, **how)

    def _compare(self, workspace: Workspace, scenario: str, ended: children.Ended) -> None:
        assert ended.code == 0, ended.err
        check_sound(workspace)
        expected, found = self._references[scenario].outcome, outcome(workspace)
        different = list(_differences(expected, found))
        assert not different, f"{scenario}: {different}"


def _stages(workspace: Workspace) -> int:
    with workspace.read() as registry:
        return sum(len(run.stages) for run in registry.runs())


def _differences(expected: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    for key in expected.keys() | found.keys():
        if expected.get(key) != found.get(key):
            yield f"{key}: {expected.get(key)} != {found.get(key)}"
