"""Fuzz one target with libFuzzer: `python -m tests.fuzz.child TARGET FOLDER SECONDS SEED`."""

from __future__ import annotations

import sys
import traceback
from functools import partial
from pathlib import Path

import atheris

CORPUS = Path(__file__).parent / "corpus"
MAX_INPUT_BYTES = 4_096
"""Maximum bytes of an input; size limits have separate tests."""
INPUT_TIMEOUT_S = 30
"""Seconds after which libFuzzer stops an input that ignores Python signals."""


def main() -> None:
    """Fuzz until the time is up or a finding occurs."""
    target, folder, seconds, seed = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    with atheris.instrument_imports(include=["lori_cl", "yaml", "jinja2"]):
        from tests.attempts import refusal_of
        from tests.fuzz.guard import Guard
        from tests.fuzz.mutators import mutator
        from tests.fuzz.targets import TARGETS

        attempt = TARGETS[target](folder / "inside")
        seeds = sorted((CORPUS / target).iterdir())
        for known in seeds:  # load late imports before the guard is enabled
            refusal_of(partial(attempt, known.read_bytes()))
    guard = Guard(folder / "inside", folder / "outside")

    def one_input(content: bytes) -> None:
        try:
            with guard.watching():
                refusal_of(partial(attempt, content))
        except BaseException:
            traceback.print_exc()
            raise

    def random_mutation(content: bytes, max_bytes: int) -> bytes:
        changed: bytes = atheris.Mutate(content, max_bytes)  # looked up at each call: Fuzz() replaces it
        return changed

    grown = folder / "grown"
    grown.mkdir()
    flags = [
        *(f"-max_total_time={seconds}", f"-seed={seed}", f"-artifact_prefix={folder / 'found'}/"),
        *(
            "-print_final_stats=1",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-timeout={INPUT_TIMEOUT_S}",
            "-rss_limit_mb=6144",
        ),
    ]
    arguments = [sys.argv[0], *flags, str(grown), str(CORPUS / target)]
    atheris.Setup(arguments, one_input, custom_mutator=mutator(target, random_mutation))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
