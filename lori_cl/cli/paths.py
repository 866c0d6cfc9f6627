"""Paths on the command line and in environment variables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from lori_cl.errors import DataError
from lori_cl.paths import expand_user


class UserPath(click.Path):
    """A path in which `~` is expanded, also where the shell does not do it (`--out=~/x`)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Expand the path and check it as click does."""
        try:
            found = expand_user(os.fspath(value), "the path")
        except DataError as error:
            self.fail(str(error), param, ctx)
        return super().convert(str(found), param, ctx)
