"""Run the full workflow for every family, as in the nightly job."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import click


@click.command()
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Test the families NAMES, or all families. Exit with 1 if one fails."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    from .configs import FAMILIES
    from .expected import outcome

    failed = 0
    for name in names or FAMILIES:
        started_at = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            as_expected, result = outcome(Path(folder), FAMILIES[name])
        failed += not as_expected
        mark = "ok  " if as_expected else "FAIL"
        click.echo(f"{mark} {name:20} {time.perf_counter() - started_at:5.1f} s  {result}")
    click.echo(f"{len(names or FAMILIES)} families, {failed} not as expected")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
