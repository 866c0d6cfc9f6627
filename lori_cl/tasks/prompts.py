"""Render prompt templates: Jinja over the columns of a row, in a sandbox."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from jinja2 import TemplateError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables

from lori_cl.errors import DataError, first_line
from lori_cl.spec.data_formats import format_of
from lori_cl.tasks.rows import Row
from lori_cl.tasks.templates import SANDBOX, fill, fill_list

T = TypeVar("T")


def render(template: str, row: Row, field: str, where: str) -> str:
    """Render the template `field` with a row.

    Raises: DataError, if it is not a template, uses a missing column, accesses Python's internals, or writes
    something that is not text or a number.
    """
    return _compute(fill, template, row, field, where)


def render_list(template: str, row: Row, field: str, where: str) -> list[Any]:
    """Return the list that the single expression of the template `field` gives for a row.

    Raises: DataError, as `render`, and if the value is not a list.
    """
    return _compute(fill_list, template, row, field, where)


def _compute(compute: Callable[[str, Row], T], template: str, row: Row, field: str, where: str) -> T:
    try:
        return compute(template, row)
    except UndefinedError as error:
        columns = getattr(row, "columns", row)
        known = format_of(columns)
        hint = "" if known is None else f" A task of kind generation can read them with format: {known}."
        raise DataError(f"{where}: {field}: {error.message}. Columns: {', '.join(columns)}.{hint}") from None
    except SecurityError as error:
        raise DataError(f"{where}: {field} accesses something outside the sandbox: {error}") from None
    except TemplateError as error:
        raise DataError(f"{where}: {field} is not a valid Jinja template: {error}") from None
    except Exception as error:  # a template can compute: 1 / 0, int(text), a range that is too large
        raise DataError(f"{where}: {field} fails on this row: {first_line(error)}") from None


def is_template(text: str) -> bool:
    """Whether a text is a template; otherwise it is the name of a column."""
    return "{{" in text


def columns_read(*templates: str) -> set[str]:
    """Return the columns that the templates may read; none for a template with an error."""
    read: set[str] = set()
    for template in templates:
        with suppress(Exception):  # rendering reports the error, with the place of the row
            read |= find_undeclared_variables(SANDBOX.parsed(template))
    return read


def only_column(*templates: str) -> str | None:
    """Return the column that the templates read; None if they read several or none."""
    read = columns_read(*templates)
    return read.pop() if len(read) == 1 else None
