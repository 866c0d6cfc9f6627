"""An OpenAI-compatible HTTP server for a run: each task is a model (extra `serve`)."""

from __future__ import annotations

from lori_cl.errors import InputError


def require_packages() -> None:
    """Check that the packages of the extra `serve` are installed.

    Raises: InputError.
    """
    try:
        import fastapi
        import uvicorn
    except ImportError as error:
        raise InputError(f"the server needs the package {error.name}: pip install 'lori-cl[serve]'") from None
    del fastapi, uvicorn
