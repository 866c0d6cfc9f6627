"""Run `lori-cl` as `python -m lori_cl`, for launchers that start a module."""

from lori_cl.cli.main import entry

entry()
