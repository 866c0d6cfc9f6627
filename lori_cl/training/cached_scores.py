"""Cached scores: a committed score of the same inputs, where its answers are still there."""

from __future__ import annotations

import logging

from lori_cl.errors import ArtifactDamaged, LoriError
from lori_cl.registry import ArtifactStore, Evaluation, Registry
from lori_cl.strict_json import decoded

log = logging.getLogger(__name__)


def find_cached(registry: Registry, artifacts: ArtifactStore, input_digest: str) -> Evaluation | None:
    """A score that was measured on inputs of this digest, in any run; None where it is to be measured.

    A score whose answers file is gone, damaged or of other answers is not used: a new run that named the file
    could not be verified.
    """
    wrong: str | None = None
    for known in registry.measured_scores(input_digest):
        wrong = _wrong(artifacts, known)
        if wrong is None:
            return known
    if wrong is not None:
        log.warning("the cached score of %s is not used and is measured again: %s", known.task, wrong)
    return None


def check_answers(artifacts: ArtifactStore, score: Evaluation) -> None:
    """Make sure that a score's answers file is the one that the score was made from.

    Raises: ArtifactMissing; ArtifactDamaged, if the file is damaged or its outcomes are not the score's.
    """
    content = artifacts.get(score.answers, "jsonl")
    path = artifacts.path(score.answers, "jsonl")
    try:
        outcomes = [float(decoded(line)["outcome"]) for line in content.decode().split("\n") if line]
    except (ValueError, TypeError, LookupError) as error:
        raise ArtifactDamaged(f"{path} holds no answers: {error}") from None
    if len(outcomes) != score.n:
        raise ArtifactDamaged(f"{path} holds {len(outcomes):,} answers, and the score is over {score.n:,}")
    if outcomes != [float(outcome) for outcome in score.outcomes]:
        raise ArtifactDamaged(f"{path} holds other outcomes than the registry")


def _wrong(artifacts: ArtifactStore, score: Evaluation) -> str | None:
    try:
        check_answers(artifacts, score)
    except LoriError as error:
        return str(error)
    return None
