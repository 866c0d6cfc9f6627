"""The bodies of requests: the parameters that are supported, and those that are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lori_cl.serving.openai_server.api_error import ApiError
from lori_cl.spec.error_messages import dotted, shown
from lori_cl.strict_json import InvalidJSON, parse_json

MAX_PROMPTS = 64
"""Maximum number of prompts in one request."""

UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "top_p": (1,),
}
"""Parameters that would change the response → the values that change nothing."""


class TextPart(BaseModel):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """Options of a streamed response."""

    include_usage: bool = False


Stop = Annotated[str, Field(min_length=1, max_length=1000)]


class Body(BaseModel):
    """The parameters that both endpoints have."""

    model_config = ConfigDict(extra="allow", frozen=True)

    model: str
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """The stop texts of the request."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def include_usage(self) -> bool:
        """Whether a streamed response ends with the numbers of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def limit(self) -> tuple[str, int | None]:
        """The name of the parameter that limits the answer, and its value."""
        return "max_tokens", self.max_tokens


class ChatBody(Body):
    """The body of a request to /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1, max_length=1000)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    @property
    def limit(self) -> tuple[str, int | None]:
        """The name of the parameter that limits the answer, and its value."""
        if self.max_completion_tokens is not None:
            return "max_completion_tokens", self.max_completion_tokens
        return super().limit


class CompletionBody(Body):
    """The body of a request to /v1/completions."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)]

    @property
    def prompts(self) -> list[str]:
        """All prompts of the request."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt


B = TypeVar("B", bound=Body)


def parse_body(kind: type[B], content: bytes) -> B:
    """Parse the body of a request.

    Raises: ApiError, if it is not valid JSON, a parameter is invalid, or one is not supported.
    """
    try:
        body = kind.model_validate(parse_json(content.decode()))
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not UTF-8: byte {error.start} is invalid") from None
    except InvalidJSON as error:
        raise ApiError(400, f"the body is not valid JSON: {error}") from None
    except ValidationError as error:
        raise _invalid(error) from None
    for name, neutral in UNSUPPORTED.items():
        value = (body.model_extra or {}).get(name)
        if value is not None and value not in neutral:
            raise ApiError(
                400, f"'{name}' is {shown(value)}, which is not supported; leave it out", param=name
            )
    return body


def _invalid(error: ValidationError) -> ApiError:
    first = error.errors(include_url=False)[0]
    name = dotted(first["loc"])
    message = first["msg"].removeprefix("Input ")
    if first["type"] == "missing":
        return ApiError(400, f"'{name}' is missing", param=name)
    return ApiError(400, f"'{name or 'the body'}' {message}, not {shown(first['input'])}", param=name or None)
