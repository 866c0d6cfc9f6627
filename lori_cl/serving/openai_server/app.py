"""The HTTP interface of the server: its routes, its limits and its errors."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from lori_cl.errors import InputError
from lori_cl.serving.openai_server.api_error import ApiError, api_error_of
from lori_cl.serving.openai_server.engine import Engine
from lori_cl.serving.openai_server.events import Decoding
from lori_cl.serving.openai_server.inputs import Input
from lori_cl.serving.openai_server.models import Models
from lori_cl.serving.openai_server.pending import PendingAnswers
from lori_cl.serving.openai_server.request_body import Body, ChatBody, CompletionBody, parse_body
from lori_cl.serving.openai_server.responses import ChatResponse, CompletionResponse, Response
from lori_cl.serving.openai_server.streaming import stream
from lori_cl.serving.openai_server.worker import Worker

MAX_BODY_BYTES = 4 * 2**20
"""Maximum size of the body of a request."""

B = TypeVar("B", bound=Body)


@dataclass(frozen=True)
class Limits:
    """What the server accepts."""

    max_tokens: int = 1024
    """Maximum number of tokens of an answer."""
    max_requests: int = 64
    """Maximum number of prompts that wait."""
    batch_size: int = 8
    """Maximum number of prompts that are answered together."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")


def create_app(engine: Engine, limits: Limits, api_key: str | None = None) -> FastAPI:
    """Return the application; its lifespan starts and stops the thread that answers."""
    worker = Worker(engine.answer, max_waiting=limits.max_requests, batch_size=limits.batch_size)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        await asyncio.to_thread(worker.stop)

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    models = Models(engine)
    app.state.models = list(models.entries)
    app.include_router(_routes(Endpoints(models, worker, limits), api_key))

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "run": engine.loaded.run.name, "waiting": worker.n_waiting}

    app.add_exception_handler(ApiError, _respond)
    app.add_exception_handler(HTTPException, _respond)
    app.add_exception_handler(Exception, _respond)
    return app


class Endpoints:
    """The endpoints of the OpenAI API."""

    def __init__(self, models: Models, worker: Worker, limits: Limits) -> None:
        self.models = models
        self._worker = worker
        self._limits = limits

    async def chat(self, request: Request) -> Any:
        """Answer POST /v1/chat/completions."""
        body = await _read(request, ChatBody)
        return await self._reply(request, body, [body.messages], ChatResponse())

    async def completions(self, request: Request) -> Any:
        """Answer POST /v1/completions."""
        body = await _read(request, CompletionBody)
        return await self._reply(request, body, body.prompts, CompletionResponse())

    async def _reply(
        self, request: Request, body: Body, inputs: Sequence[Input], response: Response
    ) -> JSONResponse | StreamingResponse:
        """Return the answers, complete or as server-sent events.

        Raises: ApiError.
        """
        model, decoding = self.models.find(body.model), self._decoding(body)
        pending = PendingAnswers(model, inputs, decoding, streamed=bool(body.stream))
        pending.submit(self._worker)
        try:
            if not body.stream:
                answers = await pending.answers(request.is_disconnected)
                return JSONResponse(response.complete(answers))
            await pending.wait_for_start(request.is_disconnected)
        except BaseException:
            pending.cancel()
            raise
        events = stream(pending, response, include_usage=body.include_usage)
        return StreamingResponse(
            events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
        )

    def _decoding(self, body: Body) -> Decoding:
        name, max_tokens = body.limit
        if max_tokens is not None and max_tokens > self._limits.max_tokens:
            raise ApiError(
                400,
                f"'{name}' is {max_tokens:,}; this server allows up to {self._limits.max_tokens:,} "
                "(--max-tokens)",
                param=name,
            )
        return Decoding(max_tokens, body.temperature, body.stop_texts, body.seed)


def _routes(endpoints: Endpoints, api_key: str | None) -> APIRouter:
    async def check_key(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if api_key is not None and not hmac.compare_digest(given.encode(), api_key.encode()):
            message = "the API key is wrong; send it as the header 'Authorization: Bearer KEY'"
            raise ApiError(401, message, code="invalid_api_key")

    router = APIRouter(prefix="/v1", dependencies=[Depends(check_key)])
    entries = endpoints.models.entries

    @router.get("/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": list(entries.values())}

    @router.get("/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        return entries[endpoints.models.find(name)]

    router.add_api_route("/chat/completions", endpoints.chat, methods=["POST"], response_model=None)
    router.add_api_route("/completions", endpoints.completions, methods=["POST"], response_model=None)
    return router


async def _read(request: Request, kind: type[B]) -> B:
    """Read and parse the body of a request.

    Raises: ApiError.
    """
    kind_of_body = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind_of_body != "application/json":  # a browser sends other types to any server, without asking it
        raise ApiError(415, "the body must be JSON; send the header 'Content-Type: application/json'")
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MAX_BODY_BYTES:
            raise ApiError(413, f"the body is larger than {MAX_BODY_BYTES:,} bytes; send a shorter prompt")
    return parse_body(kind, bytes(content))


async def _respond(_: Request, error: Exception) -> JSONResponse:
    """Return an error as an OpenAI error object."""
    if isinstance(error, HTTPException):
        error = ApiError(error.status_code, str(error.detail))
    found = api_error_of(error)
    return JSONResponse(found.to_object(), status_code=found.status)
