"""Inject kills at random times and faults at named places; after each, check the data and resume."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lori_cl.registry import Workspace

from . import children
from .faults import Fault, FaultKind
from .workspaces import SCENARIOS, CrashWorkspaces, check_consistent, outcome

Log = Callable[[str], None]


@dataclass
class Reference:
    """The result of an uninterrupted run."""

    outcome: dict[str, Any]
    seconds: float
    passed: list[str]


@dataclass
class Tally:
    """Counts of kills and runs, and where the kills hit."""

    kills: int = 0
    runs: int = 0
    """Killed runs that were resumed to their end and compared."""
    stages_done: Counter[int] = field(default_factory=Counter)
    """Committed stages at each kill."""
    in_training: int = 0
    """Kills that found a checkpoint."""


class Driver:
    """Runs faults in prepared workspaces and compares with its reference runs."""

    def __init__(self, workspaces: CrashWorkspaces) -> None:
        self._workspaces = workspaces
        workspaces.prepare()
        self._references = {name: self._reference(name) for name in SCENARIOS}

    def kill(self, kills: int, seed: int, log: Log) -> Tally:
        """Kill runs at random times until there are enough kills; resume every run until it is done."""
        draw, tally = random.Random(seed), Tally()
        while tally.kills < kills:
            scenario = draw.choice(list(SCENARIOS))
            reference, workspace = self._references[scenario], self._workspaces.fresh()
            while True:
                after = draw.uniform(0, 1.2 * reference.seconds) if tally.kills < kills else None
                result = self._run(workspace, scenario, kill_after_s=after)
                if result.code is not None:
                    break
                tally.kills += 1
                tally.stages_done[_stages(workspace)] += 1
                tally.in_training += any(workspace.checkpoints.glob("*/*/checkpoint-*"))
                check_consistent(workspace)
            self._compare(workspace, scenario, result)
            tally.runs += 1
            log(f"{tally.kills} kills, {tally.runs} runs compared")
        return tally

    def places(self) -> list[tuple[str, str, int]]:
        """Return (scenario, point, occurrence) of every place that a run passes."""
        found = []
        for scenario, reference in self._references.items():
            seen: Counter[str] = Counter()
            for point in reference.passed:
                seen[point] += 1
                found.append((scenario, point, seen[point]))
        return found

    def one_of_each(self, seed: int) -> list[tuple[str, str, int]]:
        """Return one occurrence of every named place."""
        places = self.places()
        random.Random(seed).shuffle(places)
        return list({point: (scenario, point, n) for scenario, point, n in places}.values())

    def fail(self, scenario: str, point: str, occurrence: int, kind: FaultKind) -> None:
        """Let a run fail at a place, check its data, and resume it."""
        workspace = self._workspaces.fresh()
        result = self._run(workspace, scenario, fault=Fault(point, occurrence, kind))
        where = f"{scenario}, {point}, occurrence {occurrence}, {kind}"
        if kind == "kill":
            assert result.code is None, f"{where}: the place was not reached"
        else:
            lines = result.err.strip().splitlines()
            assert result.code in (1, 2), f"{where}: {result.err}"
            assert lines[-1].startswith("WorkspaceUnusable: "), f"{where}: {result.err}"
            assert "Traceback" not in result.err, f"{where}: {result.err}"
        check_consistent(workspace)
        self._compare(workspace, scenario, self._run(workspace, scenario))

    def _reference(self, scenario: str) -> Reference:
        workspace = self._workspaces.fresh()
        result = self._run(workspace, scenario)
        assert result.code == 0, result.err
        check_consistent(workspace)
        return Reference(outcome(workspace), result.seconds, list(result.passed))

    def _run(self, workspace: Workspace, scenario: str, **options: Any) -> children.ChildResult:
        arguments = self._workspaces.command(workspace, scenario)
        return children.run(arguments, self._workspaces.folder, **options)

    def _compare(self, workspace: Workspace, scenario: str, result: children.ChildResult) -> None:
        assert result.code == 0, result.err
        check_consistent(workspace)
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
