"""`lori-cl plugins`."""

from __future__ import annotations

from dataclasses import asdict

import click

from lori_cl.cli.output import json_option, print_json, print_line
from lori_cl.plugins import GROUPS, plugins


@click.command("plugins")
@json_option
def list_plugins(as_json: bool) -> None:
    """List the methods, scorers, task kinds and other parts that installed packages add.

    \b
    Example:
      lori-cl plugins
    """
    found = [plugin for group in GROUPS for plugin in plugins(group).values()]
    if as_json:
        print_json([{**asdict(plugin), "adds": GROUPS[plugin.group]} for plugin in found])
        return
    for plugin in found:
        print_line(f"{GROUPS[plugin.group]} {plugin.name}: {plugin.package} ({plugin.target})")
    if not found:
        print_line("No plugin is installed.")
