"""Cached scores: a committed score of the same inputs whose answers file is intact."""

from __future__ import annotations

import logging

from lori_cl.errors import ArtifactDamaged, LoriError
from lori_cl.registry import ArtifactStore, Evaluation, Registry
from lori_cl.strict_json import parse_json

log = logging.getLogger(__name__)


def find_cached(registry: Registry, artifacts: ArtifactStore, input_digest: str) -> Evaluation | None:
    """Return a score measured on inputs with this digest, in any run; None if it must be measured.

    A score whose answers file is missing, damaged or does not match is not used, because a run that refers to
    the file could not be verified.
    """
    problem: str | None = None
    for known in registry.measured_scores(input_digest):
        problem = _problem(artifacts, known)
        if problem is None:
            return known
    if problem is not None:
        log.warning("the cached score of %s is not used and is measured again: %s", known.task, problem)
    return None


def check_answers(artifacts: ArtifactStore, score: Evaluation) -> None:
    """Check that a score's answers file is intact and matches the score.

    Raises: ArtifactMissing; ArtifactDamaged, if the file is damaged or its outcomes differ from the score's.
    """
    content = artifacts.get(score.answers, "jsonl")
    path = artifacts.path(score.answers, "jsonl")
    try:
        outcomes = [float(parse_json(line)["outcome"]) for line in content.decode().split("\n") if line]
    except (ValueError, TypeError, LookupError) as error:
        raise ArtifactDamaged(f"{path} holds no answers: {error}") from None
    if len(outcomes) != score.n:
        raise ArtifactDamaged(f"{path} holds {len(outcomes):,} answers, and the score is over {score.n:,}")
    if outcomes != [float(outcome) for outcome in score.outcomes]:
        raise ArtifactDamaged(f"{path} holds other outcomes than the registry")


def _problem(artifacts: ArtifactStore, score: Evaluation) -> str | None:
    try:
        check_answers(artifacts, score)
    except LoriError as error:
        return str(error)
    return None
