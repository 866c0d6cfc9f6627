"""The entries of /v1/models: each task of the run with its score, and `auto`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lori_cl.errors import UnknownTask
from lori_cl.evaluation import LoadedRun
from lori_cl.serving.openai_server.api_error import ApiError
from lori_cl.serving.openai_server.engine import AUTO, Engine
from lori_cl.serving.provenance import provenance_of
from lori_cl.spec import View


class Models:
    """The models of a server, and their names in requests."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.entries = _entries(engine)

    def find(self, name: str) -> str:
        """Return the label of a task, or `auto`.

        Raises: ApiError: 404, if there is no such model.
        """
        if name == AUTO and AUTO in self.entries:
            return name
        loaded = self._engine.loaded
        try:
            return loaded.history[loaded.position(name)].task
        except UnknownTask as error:
            why = str(error)
        if name == AUTO:
            why = f"the model 'auto' needs a router: {self._engine.why_no_router}"
        raise ApiError(404, why, code="model_not_found", param="model")


def _entries(engine: Engine) -> dict[str, dict[str, Any]]:
    """Return the entry of each model, by name; a task named `auto` has precedence over the router."""
    loaded = engine.loaded
    entries = {}
    if engine.router is not None:
        scores = _metrics(loaded, View.ROUTED, engine.router.tasks)
        entries[AUTO] = _entry(loaded, AUTO, {"tasks": scores})
    for task, metrics in _metrics(loaded, View.AS_TRAINED, engine.tasks).items():
        entries[task] = _entry(loaded, task, metrics)
    return {name: entries[name] for name in dict.fromkeys((*engine.tasks, *entries))}


def _metrics(loaded: LoadedRun, view: View, tasks: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the version, the stage and the score under a view of each task, by label."""
    records = provenance_of(loaded, view, tasks)["tasks"]
    return dict(zip(tasks, records, strict=True))


def _entry(loaded: LoadedRun, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    run = loaded.run
    return {
        "id": name,
        "object": "model",
        "created": _seconds(run.created_at),
        "owned_by": "lori_cl",
        "root": run.base_path,
        "lori_cl": {"run": run.name, **content},
    }


def _seconds(created_at: Any) -> int:
    moment = created_at if isinstance(created_at, datetime) else datetime.fromisoformat(created_at)
    return int(moment.timestamp())
