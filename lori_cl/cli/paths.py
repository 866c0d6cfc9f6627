"""Paths on the command line and in environment variables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from lori_cl.errors import DataError
from lori_cl.paths import expanded


class UserPath(click.Path):
    """A path in which `~` is the home folder, also where no shell replaced it (`--out=~/x`)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """The path, checked as click does."""
        try:
            found = expanded(os.fspath(value), "the path")
        except DataError as error:
            self.fail(str(error), param, ctx)
        return super().convert(str(found), param, ctx)
