"""Prompt templates: Jinja over a row's columns, in a sandbox."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from jinja2 import TemplateError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables

from lori_cl.errors import DataError, first_line
from lori_cl.tasks.rows import Row
from lori_cl.tasks.templates import SANDBOX, fill, fill_list

T = TypeVar("T")


def render(template: str, row: Row, field: str, where: str) -> str:
    """Fill the template `field` with a row.

    Raises: DataError, if it is no template, names a missing column, reaches for Python's internals, or writes
    something that is not a text or a number.
    """
    return _computed(fill, template, row, field, where)


def listed(template: str, row: Row, field: str, where: str) -> list[Any]:
    """The list that the one expression of the template `field` gives for a row.

    Raises: DataError, as `render`, and if it gives no list.
    """
    return _computed(fill_list, template, row, field, where)


def _computed(compute: Callable[[str, Row], T], template: str, row: Row, field: str, where: str) -> T:
    try:
        return compute(template, row)
    except UndefinedError as error:
        columns = ", ".join(getattr(row, "columns", row))
        raise DataError(f"{where}: {field}: {error.message}. Columns: {columns}.") from None
    except SecurityError as error:
        raise DataError(f"{where}: {field} reaches outside its sandbox: {error}") from None
    except TemplateError as error:
        raise DataError(f"{where}: {field} is no Jinja template: {error}") from None
    except Exception as error:  # a template computes: 1 / 0, a number of a text, a range too large
        raise DataError(f"{where}: {field} fails on this row: {first_line(error)}") from None


def is_template(text: str) -> bool:
    """Whether a text is a template, and not the name of a column."""
    return "{{" in text


def columns_read(*templates: str) -> set[str]:
    """The columns that the templates may read; of a template with an error, none."""
    read: set[str] = set()
    for template in templates:
        with suppress(Exception):  # what is wrong is said with a row's place when the template is filled
            read |= find_undeclared_variables(SANDBOX.parsed(template))
    return read


def only_column(*templates: str) -> str | None:
    """The one column that the templates read; None where they read several, or none."""
    read = columns_read(*templates)
    return read.pop() if len(read) == 1 else None
