"""Command for the full crash test, whose results the documentation reports."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections import Counter
from itertools import product
from pathlib import Path

import click

SAMPLE = 8
"""Trials of `--faults sample`."""


@click.command()
@click.option("--kills", type=int, default=0, help="Number of kills at random times.")
@click.option("--faults", type=click.Choice(["none", "sample", "one-of-each", "all"]), default="none")
@click.option("--seed", type=int, default=0)
def main(kills: int, faults: str, seed: int) -> None:
    """Kill runs, simulate full disks, and compare the resumed runs with uninterrupted runs."""
    os.environ.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # before torch is imported: a forked child lacks the threads of its parent
    import lori_cl.training  # noqa: F401 (every child needs it)

    from .driver import Driver
    from .workspaces import CrashWorkspaces

    gc.freeze()  # otherwise a child's collections would copy the memory shared with its parent
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        driver = Driver(CrashWorkspaces(Path(folder)))
        if kills:
            tally = driver.kill(kills, seed, lambda line: click.echo(line, err=True))
            done = sorted(tally.stages_done.items())
            stages = ", ".join(f"{n} after {k} stage{'s' * (k != 1)}" for k, n in done)
            click.echo(
                f"{tally.kills} kills ({stages}; {tally.in_training} with a checkpoint): "
                f"{tally.runs} runs resumed, all equal to uninterrupted ones, bit for bit"
            )
        each = driver.one_of_each(seed)
        places = {"none": [], "sample": each, "one-of-each": each, "all": driver.places()}[faults]
        trials = [
            (kind, *place)
            for kind, place in product(("kill", "full"), places)
            if kind == "kill" or "removal" not in place[1]  # a removal needs no room
        ]
        tried: Counter[str] = Counter()
        for kind, scenario, point, occurrence in trials[
            :: len(trials) // SAMPLE if faults == "sample" else 1
        ]:
            driver.fail(scenario, point, occurrence, kind)
            tried[kind] += 1
            click.echo(f"{scenario}, {point} {occurrence}, {kind}: survived", err=True)
        if places:
            names, kills, full = len({point for _, point, _ in places}), tried["kill"], tried["full"]
            click.echo(f"{names} named places: {kills} kills and {full} full disks, all survived")
    click.echo(f"{time.monotonic() - started_at:.0f} s")


if __name__ == "__main__":
    main()
