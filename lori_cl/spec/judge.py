"""The fields of `judge`: a language model on a server that grades answers."""

from __future__ import annotations

import re
from typing import ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from lori_cl.spec.base import Count, Number, Spec
from lori_cl.spec.error_messages import shown

ENVIRONMENT_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
LONGEST_PATTERN = 1_000
"""Maximum number of characters."""


class TokenPrices(Spec):
    """Prices per million tokens, in any currency."""

    input: Number = Field(ge=0)
    output: Number = Field(ge=0)


class JudgeSpec(Spec):
    """A server with the chat completions API of OpenAI, and what it is asked."""

    omitted_if_none: ClassVar[frozenset[str]] = frozenset({"score_pattern", "price_per_million"})

    url: str
    """The base URL of the API, such as `https://api.openai.com/v1` or `http://localhost:8000/v1`."""
    model: str = Field(min_length=1)
    """The name of the model on the server."""
    prompt: str = Field(min_length=1)
    """A Jinja template over the row's columns and `completion` (the answer to grade), `target` (the reference
    answer), `targets` (all of them) and `prompt_text` (the rendered prompt). It states the criteria. A
    sentence that asks for a reply such as {"score": 0.5} is added, unless `score_pattern` is set."""
    scale: tuple[Number, Number] = (0, 1)
    """The lowest and the highest grade. A grade g counts as (g − lowest) / (highest − lowest)."""
    score_pattern: str | None = None
    """A regular expression that finds the grade in the reply: its only group is a number. By default the
    reply is a JSON object with the number `score`."""
    api_key_env: str | None = None
    """The environment variable with the API key. The key itself is never stored."""
    max_tokens: Count | None = 256
    """Maximum length of a reply in tokens; None sets no limit."""
    timeout_s: Number = Field(default=60.0, gt=0, le=3600)
    """Time limit of a request in seconds."""
    retries: int = Field(default=5, strict=True, ge=0, le=100)
    """Number of repetitions of a request that failed for now (HTTP 429, 5xx, time limit, no connection), or
    whose reply has no grade."""
    parallel: int = Field(default=4, strict=True, ge=1, le=64)
    """Number of requests at the same time."""
    price_per_million: TokenPrices | None = None
    """The prices of tokens, to show the cost: `{input: 0.15, output: 0.6}`."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.fragment
        except ValueError:
            valid = False
        if not valid or not url.isprintable() or " " in url:
            raise ValueError(f"judge.url should be like https://api.openai.com/v1, not {shown(url)}")
        if "@" in parts.netloc or parts.query:
            raise ValueError("judge.url has a user name, a password or a query; use judge.api_key_env")
        return url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _check_variable(cls, name: str | None) -> str | None:
        if name is not None and not ENVIRONMENT_VARIABLE.fullmatch(name):
            raise ValueError(
                "judge.api_key_env should be the name of an environment variable, such as OPENAI_API_KEY"
            )
        return name

    @field_validator("score_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        if len(pattern) > LONGEST_PATTERN:
            raise ValueError(
                f"judge.score_pattern has {len(pattern):,} characters; use {LONGEST_PATTERN:,} at most"
            )
        try:
            groups = re.compile(pattern).groups
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"judge.score_pattern is not a regular expression: {error}") from None
        if groups != 1:
            raise ValueError(
                f"judge.score_pattern {shown(pattern)} has {groups} groups; it needs exactly one"
            )
        return pattern

    @model_validator(mode="after")
    def _check_scale(self) -> Self:
        low, high = self.scale
        if not low < high:
            raise ValueError(f"judge.scale is [{low:g}, {high:g}]; the first number must be the lower one")
        return self
