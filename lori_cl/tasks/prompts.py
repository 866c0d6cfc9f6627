"""Prompt templates: Jinja over a row's columns, in a sandbox."""

from __future__ import annotations

from jinja2 import TemplateError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables

from lori_cl.errors import DataError, first_line
from lori_cl.tasks.rows import Row
from lori_cl.tasks.templates import SANDBOX, fill


def render(template: str, row: Row, field: str, where: str) -> str:
    """Fill the template `field` with a row.

    Raises: DataError, if it is no template, names a missing column or reaches for Python's internals.
    """
    try:
        return fill(template, row)
    except UndefinedError as error:
        raise DataError(f"{where}: {field}: {error.message}. Columns: {', '.join(row)}.") from None
    except SecurityError as error:
        raise DataError(f"{where}: {field} reaches outside its sandbox: {error}") from None
    except TemplateError as error:
        raise DataError(f"{where}: {field} is no Jinja template: {error}") from None
    except Exception as error:  # a template computes: 1 / 0, a number of a text, a range too large
        raise DataError(f"{where}: {field} fails on this row: {first_line(error)}") from None


def only_column(*templates: str) -> str | None:
    """The one column that the templates read; None where they read several, or none."""
    read = set().union(*(find_undeclared_variables(SANDBOX.parse(template)) for template in templates))
    return read.pop() if len(read) == 1 else None
