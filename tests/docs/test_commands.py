"""Commands in the documentation use options, scripts and files that exist; none is executed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from lori_cl.cli.main import main
from tests.docs.pages import DOCS, ROOT, shell_lines

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
SHIPPED = re.compile(r"(?:benchmarks|examples|tests|tasks)/[\w/.-]+\.(?:py|sh|yaml)$")


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every `lori-cl`, `python`, `sh` and `pytest` command in the code blocks."""
    for line in shell_lines(text):
        for part in re.split(r"&&|;|\s\d?>", line.removeprefix("$ ")):
            words = [] if part.count("'") % 2 else shlex.split(part, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*|do", words[0]):
                words = words[1:]
            if words and words[0] in {"lori-cl", "python", "sh", "pytest"}:
                yield words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_lori_cl_command_of_a_page_parses(page: Path) -> None:
    for program, *words in commands(page.read_text(encoding="utf-8")):
        if program == "lori-cl":
            while words and words[0] in {"--workspace", "--registry"}:
                words = words[2:]
            parse(main, words)


def parse(group: click.Group, words: list[str]) -> None:
    """Parse a command line without running it.

    Raises: click.ClickException: a command, an option or an argument does not exist.
    """
    with click.Context(group) as context:
        command = group.get_command(context, words[0])
        assert command is not None, words
        if isinstance(command, click.Group):
            parse(command, words[1:])
        else:
            command.make_context(words[0], words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_script_that_a_page_runs_is_shipped(page: Path) -> None:
    words = {word for command in commands(page.read_text(encoding="utf-8")) for word in command}
    assert [word for word in sorted(words) if SHIPPED.match(word) and not (ROOT / word).is_file()] == []


def test_a_command_with_an_unknown_option_is_refused() -> None:
    with pytest.raises(click.NoSuchOption):
        parse(main, ["report", "first", "--fromat", "html"])


def test_commands_are_found_after_prompts_variables_and_other_commands() -> None:
    text = (
        "```sh\n$ lori-cl runs > x  # all\nA=b sh x.sh && lori-cl \\\n report first\nlori\n```\nlori-cl no\n"
    )
    assert list(commands(text)) == [["lori-cl", "runs"], ["sh", "x.sh"], ["lori-cl", "report", "first"]]
