"""`lori-cl`: the group, its global options, and how an error leaves it."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import click

import lori_cl
from lori_cl.cli.output import print_line
from lori_cl.cli.paths import UserPath
from lori_cl.cli.signals import speaks
from lori_cl.cli.streams import safe_streams
from lori_cl.errors import Interrupted, LoriError, one_line, suggestion
from lori_cl.registry.workspace import Workspace

COMMANDS = {
    "demo": ("lori_cl.cli.demo", "Run four small tasks on a small model, with nothing to download."),
    "init": ("lori_cl.cli.init", "Make a workspace: registry.db, tasks/ and artifacts/."),
    "registry": ("lori_cl.cli.registry", "Bring the registry of an earlier version up to date."),
    "add-task": ("lori_cl.cli.tasks", "Register tasks from their YAML files."),
    "tasks": ("lori_cl.cli.tasks", "List the tasks, or show one."),
    "run": ("lori_cl.cli.run", "Learn a curriculum, or go on with it."),
    "runs": ("lori_cl.cli.runs", "List the runs, or show one."),
    "report": ("lori_cl.cli.report", "Show what was learned and what was forgotten."),
    "verify": ("lori_cl.cli.verify", "Check that a run is what the registry says of it."),
    "receipt": ("lori_cl.cli.receipt", "Export a run's receipt, to be kept outside the workspace."),
    "capacity": ("lori_cl.cli.runs", "Show who owns how many cells, and how many tasks still fit."),
    "interference": ("lori_cl.cli.interference", "Show what tasks' updates do to each other's inputs."),
    "route": ("lori_cl.cli.route", "Score a run that is not told the task: it guesses it."),
    "predict": ("lori_cl.cli.predict", "Answer texts with what was learned."),
    "export": ("lori_cl.cli.export", "Write what was learned as an ordinary PEFT LoRA folder."),
    "import": ("lori_cl.cli.importing", "Begin a run with an adapter that was made elsewhere."),
    "merge": ("lori_cl.cli.merge", "Merge tasks of any runs on one base model into one PEFT adapter."),
    "gc": ("lori_cl.cli.gc", "Show files that nothing needs, and delete them."),
    "retire-task": ("lori_cl.cli.retire", "Free the cells of a learned task for later ones."),
}
"""Each command's file, imported only when it is called: nobody waits for torch to read --help."""


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class LazyGroup(click.Group):
    """A group that imports a command's file when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(COMMANDS[cmd_name][0])
        function = "import_" if cmd_name == "import" else cmd_name.replace("-", "_")
        command: click.Command = getattr(module, function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command where there is none of this name."""
        if args[0] not in COMMANDS:
            ctx.fail(f"there is no command '{args[0]}'.{suggestion(args[0], COMMANDS)} See: lori-cl --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line a command, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the present sys.stderr, which a caller may have replaced since the first call."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        self.stream = sys.stderr
        super().emit(record)


@click.group(cls=LazyGroup, context_settings=SETTINGS)
@click.option(
    "--workspace",
    type=UserPath(file_okay=False),
    default=Path(),
    envvar="LORI_CL_WORKSPACE",
    help="The folder with registry.db and artifacts/; this folder where not given.",
)
@click.option(
    "--registry",
    envvar="LORI_CL_REGISTRY",
    metavar="URL",
    help="Another database than registry.db, as a SQLAlchemy URL.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log what the libraries beneath say, too.")
@click.version_option(lori_cl.__version__, prog_name="lori-cl")
@click.pass_context
def main(context: click.Context, workspace: Path, registry: str | None, verbose: bool) -> None:
    """Teach one frozen transformer task after task, and prove that nothing learned was overwritten.

    \b
    Example:
      lori-cl init
      lori-cl add-task tasks/cl_bench/*.yaml
      lori-cl run examples/real_text/curriculum.yaml --name first
      lori-cl report first
    """
    context.obj = Workspace(workspace, registry)
    handler = StderrHandler()
    handler.setFormatter(OneLineEach("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO if verbose else logging.WARNING)
    logging.getLogger("lori_cl").setLevel(logging.INFO)
    if not verbose:
        warnings.simplefilter("ignore")  # the libraries beneath warn their own developers


def entry() -> None:
    """Run the command line; a LoriError leaves as one line and its exit code."""
    with safe_streams():
        code = _exit_code()
    sys.exit(code)


def _exit_code() -> int:
    """Run the command, print the error that ends it, and return the exit code."""
    try:
        result: Any = _run()
        sys.stdout.flush()  # here, where a full disk can still be reported
    except click.ClickException as error:
        _say(type(error).__name__, error.format_message())
        return 2
    except LoriError as error:
        if speaks() or not isinstance(error, Interrupted):
            _say(type(error).__name__, str(error))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        if speaks():
            print_line(
                "Interrupted. What was committed stays; the same command goes on from there.", err=True
            )
        return 1
    except BrokenPipeError:  # of stdout: the reader has left
        return 1
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except Exception as error:
        if {"-v", "--verbose"} & set(sys.argv):
            raise
        message = f"{error}. This is unexpected; lori-cl --verbose … shows where it happened"
        _say(type(error).__name__, message)
        return 1
    return result if isinstance(result, int) else 0


def _run() -> Any:
    """What the command returns; without a command, 2 after the help."""
    try:
        return main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        with suppress(BrokenPipeError):  # as click does itself: the reader has left, for instance `| head`
            click.echo(error.format_message())
        return 2


def _say(kind: str, message: str) -> None:
    """One line on stderr, whatever stood in a file or a name that the message repeats."""
    print_line(f"{kind}: {message.strip()}", err=True)


class OneLineEach(logging.Formatter):
    """Log records in which no data can control a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The message; a library's may have several lines."""
        return "\n".join(map(one_line, super().formatMessage(record).split("\n")))
