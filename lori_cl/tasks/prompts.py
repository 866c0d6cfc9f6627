"""Prompt templates: Jinja over a row's columns, in a sandbox."""

from __future__ import annotations

from typing import Any

from jinja2 import StrictUndefined, TemplateError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lori_cl.errors import DataError
from lori_cl.tasks.sources import Row

_SANDBOX = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined,  # a misspelt column is an error, not an empty string
    keep_trailing_newline=True,
    finalize=lambda value: _not_null(value),
)


def render(template: str, row: Row, field: str, where: str) -> str:
    """Fill the template `field` with a row.

    Raises: DataError, if it is no template, names a missing column or reaches for Python's internals.
    """
    try:
        return _SANDBOX.from_string(template).render(row)
    except UndefinedError as error:
        raise DataError(f"{where}: {field}: {error.message}. Columns: {', '.join(row)}.") from None
    except SecurityError as error:
        raise DataError(f"{where}: {field} reaches outside its sandbox: {error}") from None
    except TemplateError as error:
        raise DataError(f"{where}: {field} is no Jinja template: {error}") from None
    except Exception as error:  # a template computes: 1 / 0, a number of a text, a range too large
        raise DataError(f"{where}: {field} fails on this row: {str(error) or type(error).__name__}") from None


def only_column(*templates: str) -> str | None:
    """The one column that the templates read; None where they read several, or none."""
    read = set().union(*(find_undeclared_variables(_SANDBOX.parse(template)) for template in templates))
    return read.pop() if len(read) == 1 else None


def _not_null(value: Any) -> Any:
    if value is None:
        raise ValueError("it writes a null")
    return value
