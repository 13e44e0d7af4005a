"""The application: its verbs, and how errors and interruptions end it."""

import sys
import warnings
from typing import NoReturn

import typer

from surefoot.cli.attack import attack
from surefoot.cli.bench import bench
from surefoot.cli.certify import certify
from surefoot.cli.compress import compress
from surefoot.cli.export import export
from surefoot.cli.keygen import keygen
from surefoot.cli.quantise import quantise
from surefoot.cli.report import report
from surefoot.cli.run import run
from surefoot.cli.train import train
from surefoot.cli.verify import verify
from surefoot.errors import InputError, MissingLibraryError, SurefootError

_EXTRAS = {
    "gymnasium": "train",
    "matplotlib": "train",
    "mujoco": "train",
    "tensorboard": "train",
    "torch": "train",
    "onnxruntime": "cpu",
}

app = typer.Typer(
    name="pipeline",
    help="From a control task to a small neural controller that may be deployed.",
    epilog=(
        "Exit codes: 0 done and every requirement proved, 2 bad input, 3 refuted or a check "
        "failed, 4 not proved, 5 does not verify, 75 interrupted (run the same command to go on)."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (
    train,
    compress,
    quantise,
    certify,
    export,
    keygen,
    verify,
    attack,
    bench,
    run,
    report,
):
    app.command()(verb)


def main() -> None:
    """Run the command line; errors that surefoot raises on purpose are one line.

    Raises:
        ModuleNotFoundError: If a module is missing that no extra brings, which is a bug.
    """
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        app()
    except SurefootError as error:
        _end(error)
    except OSError as error:
        _end(InputError(f"{error.filename or 'a file'}: {error.strerror or error}"))
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _EXTRAS:
            raise
        hint = f"pip install 'surefoot[{_EXTRAS[library]}]'"
        _end(MissingLibraryError(f"{library} is not installed: {hint}"))


def _end(error: SurefootError) -> NoReturn:
    print(f"{type(error).label}: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(error.exit_code)
