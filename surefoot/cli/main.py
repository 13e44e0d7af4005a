"""The application and its verbs."""

import atexit
import functools
from collections.abc import Callable
from typing import Annotated, ParamSpec

import typer

from surefoot.cli.adopt import adopt
from surefoot.cli.attack import attack
from surefoot.cli.bench import bench
from surefoot.cli.budget import init
from surefoot.cli.certify import certify
from surefoot.cli.compress import compress
from surefoot.cli.export import export
from surefoot.cli.failures import TRACEBACK_VARIABLE, errors_in_one_line
from surefoot.cli.inspect import inspect
from surefoot.cli.interruption import (
    early_interruptions_named,
    end_quietly_at_exit,
    verb_interruptions_named,
)
from surefoot.cli.keygen import keygen
from surefoot.cli.quantise import quantise
from surefoot.cli.report import report
from surefoot.cli.robot import robot
from surefoot.cli.run import run
from surefoot.cli.standard_output import owned
from surefoot.cli.study import study
from surefoot.cli.train import train
from surefoot.cli.verify import verify
from surefoot.cli.watch import watch
from surefoot.process_exit import failing_exit_of_c, refuse_exit, restore_exit
from surefoot.version import __version__

P = ParamSpec("P")


def _as_command(verb: Callable[P, None]) -> Callable[P, None]:
    """Return a verb that owns standard output, and whose interruption is said in one line."""

    @functools.wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with verb_interruptions_named(), owned():
            verb(*args, **kwargs)

    return run


app = typer.Typer(
    name="pipeline",
    help="From a control task to a small neural controller that may be deployed.",
    epilog=(
        "Exit codes: 0 done and every requirement proved, 2 bad input, 3 refuted or a check "
        "failed, 4 not proved, 5 does not verify, 75 interrupted (run the same command to resume), "
        "130 interrupted (run the same command to repeat this step). "
        f"With {TRACEBACK_VARIABLE}=1 an error shows where it happened."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
VERBS = (
    train,
    adopt,
    inspect,
    robot,
    compress,
    quantise,
    certify,
    export,
    keygen,
    verify,
    attack,
    watch,
    bench,
    run,
    report,
    study,
)
for verb in VERBS:
    app.command()(_as_command(verb))

budget = typer.Typer(help="Write a budget to start from.", no_args_is_help=True)
budget.command()(_as_command(init))
budget.callback()(lambda: None)  # a group, whose one verb has a name
app.add_typer(budget, name="budget")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"surefoot {__version__}")
        raise typer.Exit


@app.callback()
def _pipeline(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    del version  # it has ended the program


def main() -> None:
    """Run the command line; errors that surefoot raises on purpose are one line.

    Code of a user cannot end it as done by ``os._exit``, ``exit`` of C and the like, nor change its
    exit code at its end.
    """
    before = refuse_exit()
    try:
        with failing_exit_of_c(), errors_in_one_line(), early_interruptions_named():
            app()
    finally:
        restore_exit(before)
        end_quietly_at_exit()
        atexit.register(refuse_exit)  # the last that is registered runs before those of the user
