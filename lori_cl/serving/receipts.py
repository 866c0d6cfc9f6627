"""Compare a run with an exported receipt."""

from __future__ import annotations

from pathlib import Path

from lori_cl.errors import InputError, VerificationError
from lori_cl.paths import expand_user
from lori_cl.registry import Registry
from lori_cl.registry.receipt import HEAD, Receipt, read_bytes
from lori_cl.registry.ssh_signature import check_signature
from lori_cl.serving.verify import CheckResult

SHOWN = 5
"""Maximum number of differences that an error lists."""


def check_receipt(registry: Registry, name: str, given: str, signed_by: Path | None) -> CheckResult:
    """Check that the run still contains all stages and scores of a receipt.

    `given` is a receipt file, or a head that `lori-cl run` printed.
    Raises: UnknownRun; InputError, if it is not a receipt of this run; VerificationError, with the
    differences.
    """
    now = Receipt.of(registry.run(name), registry.score_log(name))
    if HEAD.fullmatch(given) and not Path(given).exists():
        if signed_by is not None:
            raise InputError("a head has no signature; give the receipt file")
        return CheckResult("receipt", _found_head(now, given))
    file = expand_user(given, "receipt")
    content = read_bytes(file)
    kept = Receipt.parse(content, file)
    if kept.run != name:
        raise InputError(f"{file} is a receipt of run '{kept.run}', not of '{name}'")
    if signed_by is not None:
        check_signature(file, content, signed_by)
    if changes := list(kept.changes(now)):
        more = f"; and {len(changes) - SHOWN} more" if changes[SHOWN:] else ""
        raise VerificationError(f"the run differs from {file}: {'; '.join(changes[:SHOWN])}{more}")
    return CheckResult("receipt", _agreement(kept, now, signed_by))


def _agreement(kept: Receipt, now: Receipt, signed_by: Path | None) -> str:
    stages, scores = len(now.stages) - len(kept.stages), len(now.scores) - len(kept.scores)
    since = f"; {stages} stages and {scores:,} scores were added since" if stages or scores else ""
    signed = f", signed by {signed_by}" if signed_by is not None else ""
    return f"{len(kept.stages)} stages and {len(kept.scores):,} scores match the receipt{signed}{since}"


def _found_head(now: Receipt, head: str) -> str:
    for stage in now.stages:
        if stage.head == head:
            return f"{stage.stage} of {len(now.stages)} stages and their scores have this head"
    heads = f"the newest of its {len(now.stages)} stages has {now.head}" if now.stages else "it has no stages"
    raise VerificationError(
        f"no stage of the run has the head {head}, and {heads}: stages were removed, or a score, a stage's "
        "file, a task or the base model was changed"
    )
