"""`python -m lori_cl` is `lori-cl`, for launchers that start a module."""

from lori_cl.cli.main import entry

entry()
