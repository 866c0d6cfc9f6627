"""Errors as the OpenAI API returns them: a status code and an error object."""

from __future__ import annotations

from typing import Any

from lori_cl.errors import InputError, LoriError, one_line


class ApiError(Exception):
    """A request that is answered with an error object."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(one_line(message))
        self.status = status
        self.code = code
        self.param = param

    def to_object(self) -> dict[str, Any]:
        """Return the body of the response."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        if self.status == 429:
            kind = "rate_limit_error"
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


def api_error_of(error: Exception) -> ApiError:
    """Return the error object of an exception: 400 for invalid input, 500 for everything else."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, InputError):
        return ApiError(400, str(error))
    if isinstance(error, LoriError):
        return ApiError(500, str(error))
    return ApiError(500, f"the request failed: {type(error).__name__}; the server's log has the reason")
