"""The command group `lori-cl`: its global options and the exit codes of errors."""

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
from lori_cl.cli.signals import is_rank_zero
from lori_cl.cli.streams import safe_streams
from lori_cl.errors import Interrupted, LoriError, one_line, suggestion
from lori_cl.registry.workspace import Workspace

COMMANDS = {
    "demo": ("lori_cl.cli.demo", "Run a demo: four small tasks on a bundled small model, no download."),
    "init": ("lori_cl.cli.init", "Create a workspace: registry.db, tasks/ and artifacts/."),
    "registry": ("lori_cl.cli.registry", "Upgrade the registry of an earlier version."),
    "add-task": ("lori_cl.cli.tasks", "Register tasks from YAML files."),
    "tasks": ("lori_cl.cli.tasks", "List the registered tasks, or show one."),
    "run": ("lori_cl.cli.run", "Train the tasks of a curriculum, or resume the run."),
    "runs": ("lori_cl.cli.runs", "List the runs, or show one."),
    "report": ("lori_cl.cli.report", "Show scores, forgetting and capacity of runs."),
    "verify": ("lori_cl.cli.verify", "Check the files and scores of a run against the registry."),
    "receipt": ("lori_cl.cli.receipt", "Export the receipt of a run, to keep outside the workspace."),
    "capacity": ("lori_cl.cli.runs", "Show the cells that each task owns, and how many more tasks fit."),
    "interference": (
        "lori_cl.cli.interference",
        "Show how later tasks' updates act on earlier tasks' inputs.",
    ),
    "route": ("lori_cl.cli.route", "Score a run without task ids: the task of each text is predicted."),
    "predict": ("lori_cl.cli.predict", "Predict answers for texts with a trained run."),
    "serve": ("lori_cl.cli.serve", "Serve a trained run over HTTP with an OpenAI-compatible API."),
    "export": ("lori_cl.cli.export", "Export a run, or one task, as a standard PEFT LoRA folder."),
    "push": ("lori_cl.cli.push", "Upload a task's adapter to the Hugging Face hub."),
    "import": ("lori_cl.cli.adapter_import", "Start a run from an existing LoRA or LoRI adapter."),
    "merge": ("lori_cl.cli.merge", "Merge tasks of runs on the same base model into one PEFT adapter."),
    "delete-run": ("lori_cl.cli.delete_run", "Delete a run with its stages, scores and checkpoints."),
    "gc": ("lori_cl.cli.gc", "List unused files of the workspace, and delete them."),
    "plugins": ("lori_cl.cli.plugins", "List the methods, scorers and other parts that plugins add."),
    "retire-task": ("lori_cl.cli.retire", "Free the cells of a trained task for later tasks."),
}
"""The module and short help of each command; modules are imported on demand: --help imports no torch."""


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class LazyGroup(click.Group):
    """A group that imports the module of a command when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or return None if the name is unknown."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(COMMANDS[cmd_name][0])
        function = {"import": "import_", "plugins": "list_plugins"}.get(cmd_name, cmd_name.replace("-", "_"))
        command: click.Command = getattr(module, function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest command for an unknown name."""
        if args[0] not in COMMANDS:
            ctx.fail(f"unknown command '{args[0]}'.{suggestion(args[0], COMMANDS)} See: lori-cl --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one line per command, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current sys.stderr, which a caller may have replaced since the first call."""

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
    help="Folder with registry.db and artifacts/ (default: the current folder).",
)
@click.option(
    "--registry",
    envvar="LORI_CL_REGISTRY",
    metavar="URL",
    help="Use this database instead of registry.db, as a SQLAlchemy URL.",
)
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Also show log messages of libraries, and the traceback of an error.",
)
@click.version_option(lori_cl.__version__, prog_name="lori-cl")
@click.pass_context
def main(context: click.Context, workspace: Path, registry: str | None, verbose: bool) -> None:
    """Fine-tune a frozen transformer on one task after another, and verify that no task was overwritten.

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
        warnings.simplefilter("ignore")  # libraries' warnings address developers
        for library in ("torchao", "torch.utils._pytree"):  # they warn when torchao is imported
            logging.getLogger(library).setLevel(logging.ERROR)


def entry() -> None:
    """Run the command line; print a LoriError as one line and exit with its code."""
    with safe_streams():
        code = _exit_code()
    sys.exit(code)


def _exit_code() -> int:
    """Run the command, print the error that ends it, and return the exit code."""
    try:
        result: Any = _run()
        sys.stdout.flush()  # flush here, where a full disk can still be reported
    except click.ClickException as error:
        _print_error(type(error).__name__, error.format_message())
        return 2
    except LoriError as error:
        if is_rank_zero() or not isinstance(error, Interrupted):
            _print_error(type(error).__name__, str(error))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        if is_rank_zero():
            print_line("Interrupted. Committed data is kept; repeat the command to resume.", err=True)
        return 1
    except BrokenPipeError:  # the reader of stdout has exited
        return 1
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except Exception as error:
        if {"-v", "--verbose"} & set(sys.argv):
            raise
        message = f"{error}. This is unexpected; lori-cl --verbose … shows the traceback"
        _print_error(type(error).__name__, message)
        return 1
    return result if isinstance(result, int) else 0


def _run() -> Any:
    """Run the command and return its result; without a command, print the help and return 2."""
    try:
        return main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        with suppress(BrokenPipeError):  # the reader has exited, as in `| head`; click ignores it too
            click.echo(error.format_message())
        return 2


def _print_error(kind: str, message: str) -> None:
    """Print one line on stderr; line breaks from quoted files and names are escaped."""
    print_line(f"{kind}: {message.strip()}", err=True)


class OneLineEach(logging.Formatter):
    """Formats log records so that no data in them can control a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the escaped message; messages of libraries may have several lines."""
        return "\n".join(map(one_line, super().formatMessage(record).split("\n")))
