"""Tasks of lm-evaluation-harness, through its own API."""

from __future__ import annotations

import copy
import json
import logging
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from lori_cl.errors import DataError, InputError, ScoringFailed, first_line
from lori_cl.paths import expand_user
from lori_cl.spec.lm_eval import LMEvalSpec

DEFINITIONS = "LORI_CL_LM_EVAL_TASKS"
"""The environment variable with a folder of the user's own task definitions, which may contain code."""


def harness_version() -> str:
    """Return the version of the installed lm-evaluation-harness.

    Raises: InputError: it is not installed.
    """
    try:
        return version("lm-eval")
    except PackageNotFoundError:
        raise InputError(
            "kind: lm-eval needs lm-evaluation-harness: pip install 'lori-cl[lm-eval]'"
        ) from None


class Harness:
    """One task of lm-evaluation-harness."""

    def __init__(self, spec: LMEvalSpec, task: Any) -> None:
        self._spec, self._task = spec, task

    def documents(self) -> Iterator[tuple[str, str, str]]:
        """Yield the prompt, the target and the document (as JSON) of every example."""
        for doc in self._task.eval_docs:
            yield str(self._task.doc_to_text(doc)), str(self._task.doc_to_target(doc)), document(doc)

    def evaluate(self, model: Any, tokenizer: Any, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Evaluate the documents with these numbers; return what it logs of each, by number.

        Raises: ScoringFailed: it fails, or several processes evaluate.
        """
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM

        with _unchanged_process():
            try:
                lm = HFLM(model, tokenizer=copy.deepcopy(tokenizer), batch_size=self._spec.batch_size)
                found = simple_evaluate(
                    lm,
                    tasks=[self._task],
                    num_fewshot=self._spec.num_fewshot,
                    samples={self._task.config.task: sorted(ids)},
                    bootstrap_iters=0,
                )
            except Exception as error:  # code of task definitions, and of the harness
                raise ScoringFailed(
                    f"task '{self._spec.name}': lm-eval cannot evaluate {self._spec.task}: "
                    f"{type(error).__name__}: {first_line(error)}"
                ) from error
        if found is None:
            raise ScoringFailed(f"task '{self._spec.name}': kind lm-eval works in one process only")
        return self._by_document(found["samples"][self._task.config.task])

    def _by_document(self, samples: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
        """Return the logged examples of the filter that the task names."""
        filters = list(dict.fromkeys(sample["filter"] for sample in samples))
        wanted = self._spec.filter or filters[0]
        if wanted not in filters:
            known = ", ".join(filters)
            raise ScoringFailed(f"task '{self._spec.name}': no filter '{wanted}'. Available: {known}.")
        return {sample["doc_id"]: sample for sample in samples if sample["filter"] == wanted}


def document(doc: Any) -> str:
    """Return a document as JSON."""
    return json.dumps(dict(doc), ensure_ascii=False, sort_keys=True, default=str)


def harness(spec: LMEvalSpec) -> Harness:
    """Load a task of lm-evaluation-harness.

    Raises: InputError: it is not installed, or another version was used by `add-task`; DataError: it has no
        such task, or the data cannot be read.
    """
    installed = harness_version()
    if spec.harness_version not in (None, installed):
        raise InputError(
            f"task '{spec.name}' was added with lm-eval {spec.harness_version}, but {installed} is "
            f"installed; install lm-eval=={spec.harness_version}, or add the task again"
        )
    folder = os.environ.get(DEFINITIONS)
    path = None if not folder else str(expand_user(folder, DEFINITIONS))
    return Harness(spec, _load(spec.task, path))


@lru_cache(maxsize=16)
def _load(name: str, folder: str | None) -> Any:
    from lm_eval.tasks import TaskManager

    with _unchanged_process():
        try:
            found = TaskManager(include_path=folder).load([name])["tasks"]
        except Exception as error:  # an unknown name, or whatever reading a data set raises
            problem = f"{type(error).__name__}: {first_line(error)}"
            raise DataError(f"lm-eval cannot load the task {name!r}: {problem}") from error
    if len(found) != 1:
        raise DataError(f"{name!r} is a group of {len(found)} tasks of lm-eval; name one of them")
    return next(iter(found.values()))


@contextmanager
def _unchanged_process() -> Iterator[None]:
    """Restore the random states and the log level, which lm-evaluation-harness sets."""
    log = logging.getLogger("lm_eval")
    states = random.getstate(), np.random.get_state(), torch.get_rng_state(), log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        log.setLevel(states[3])
