"""The command `dawnchorus`. Subcommands are imported on demand, so that `--help` is fast."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

# Idle OpenMP threads sleep: spinning would slow down other programs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# One thread for each of our own workers; set before NumPy is imported. BLAS pools only get in their way.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# Of torch's profiler only errors: its other lines are for those who work on it. Read when torch is imported.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import click

from dawnchorus.errors import DawnChorusError, OutputError, PlugInError
from dawnchorus.version import __version__

VERBS = {
    "demo": "Synthesize a dawn chorus, identify it, and compare with the truth.",
    "identify": "Detect birds in recordings, and write a table of detections.",
    "archive": "Query, check and compact an archive of results.",
    "spectrogram": "Draw a recording's spectrogram with its detections.",
    "models": "List, make, check and wrap models.",
    "fetch": "Download recordings from archives.",
    "data": "Import, check, split and describe recordings for training.",
    "explore": "Show a data set on one page.",
    "prepare": "Make clips of one length for training.",
    "train": "Train a model on a data set, and write its bundle.",
    "retrain": "Train a model on labeled recordings, and compare it with the one in use.",
    "tune": "Search settings of a training run.",
    "runs": "List, show, compare, plot and remove training runs.",
    "evaluate": "Evaluate models on a data set, with confidence intervals.",
    "compare": "Compare two models on your own recordings, with or without labels.",
    "leaderboard": "Train and evaluate all recipes on one split.",
    "serve": "Identify birds over HTTP.",
    "doctor": "Check the installation, and report what is missing.",
    "completion": "Print a completion script for a shell.",
    "synth": "Create a labeled data set of synthetic birds.",
}

INTERRUPTED = 130

DEBUG = "--debug"


class LazyGroup(click.Group):
    """Group of all commands (`VERBS`), which imports the module of a command on demand.

    It prints a note on repeated options.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"dawnchorus.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.exceptions.NoSuchCommand(args[0], possibilities=VERBS, ctx=ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            for option, n in repeated_options(command, rest).items():
                click.echo(f"note: {option} is given {n} times; the last one counts", err=True)
        return name, command, rest


def repeated_options(command: click.Command, arguments: Sequence[str]) -> dict[str, int]:
    """Return the number of occurrences of each option with a single value that is given more than once.

    `arguments` are those after the name of `command`. The key is the option's longest name, such as "--out". Options of
    subcommands are included. The result is empty if click cannot parse the arguments; click then reports the error. (Of
    several values, click uses the last one.)
    """
    context = click.Context(command, **command.context_settings)
    try:
        _, rest, given = command.make_parser(context).parse_args(list(arguments))
    except click.UsageError:
        return {}
    counts = Counter(option for option in given if isinstance(option, click.Option) and _has_one_value(option))
    repeated = {max(option.opts, key=len): n for option, n in counts.items() if n > 1}
    if isinstance(command, click.Group) and rest and (verb := command.get_command(context, rest[0])) is not None:
        repeated |= repeated_options(verb, rest[1:])
    return repeated


def _has_one_value(option: click.Option) -> bool:
    """Return True if a second value of the option replaces the first; False for lists and simple flags."""
    return not option.multiple and not option.count and (not option.is_flag or bool(option.secondary_opts))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dawnchorus")
@click.option(DEBUG, is_flag=True, expose_value=False, help="Show the whole trace of an error.")
def cli() -> None:
    """Dawn Chorus: from any recording to a table of birds."""


def main() -> None:
    """Run the command line of this process, and exit with its exit code; see `run`."""
    code = run(sys.argv[1:])
    if "deltalake.fs" in sys.modules:
        # Tables in a store were read, and Arrow's threads close their files in Python. One that did so while the
        # interpreter is destroyed would abort the process, so end it without that.
        atexit._run_exitfuncs()  # noqa: SLF001 - os._exit leaves them out
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if code:
        sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command; print an error as one line, and return the exit code, 130 after an interrupt.

    With `--debug`, errors other than those of click are raised.
    """
    is_debugging = DEBUG in arguments
    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
            signal.signal(signal.SIGINT, _interrupt)
        cli.main([each for each in arguments if each != DEBUG], prog_name="dawnchorus", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as stopped:
        if isinstance(stopped.code, str):  # a message, which Python prints
            raise
        return stopped.code or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to stop
        click.echo("Stopped.", err=True)
        return INTERRUPTED
    except Exception as error:
        if is_debugging:
            raise
        if isinstance(error, OSError):
            # What is still in the buffer cannot be written either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"Error: {_explain(error)}", err=True)
        return _exit_code(error)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, and make a second Ctrl-C exit at once."""
    signal.signal(signal.SIGINT, _exit_at_once)
    signal.default_int_handler(number, frame)


def _exit_at_once(_number: int, _frame: FrameType | None) -> None:
    """Exit without waiting for threads: results are on disk, and child processes end with their pipes."""
    os.write(2, b"Stopped at once.\n")
    os._exit(INTERRUPTED)


def _explain(error: Exception) -> str:
    if isinstance(error, PlugInError):
        return f"{error} ({DEBUG} shows where.)"
    if isinstance(error, DawnChorusError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'standard output'}: {error.strerror or error}. Check free space and access rights."
    return (
        f"{type(error).__name__}: {error}. This should not happen: run it again with {DEBUG}, and report what it says."
    )


def _exit_code(error: Exception) -> int:
    if isinstance(error, DawnChorusError):
        return error.exit_code
    return OutputError.exit_code if isinstance(error, OSError) else 1
