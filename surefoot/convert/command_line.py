"""What the converters share: options, the one line of an error, what they print."""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from surefoot.convert.conversion import Conversion, write_conversion
from surefoot.errors import InputError, MissingLibraryError, SurefootError
from surefoot.policy import CategoricalHead, Policy

Arguments = argparse.Namespace

_LONGEST = 300
"""Characters that a library may say in the one line of an error."""


def parser_of(module: str, description: str | None, source: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every converter has.

    Args:
        module: Name of the converter's module.
        description: Its docstring.
        source: What it reads.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m surefoot.convert.{module}",
        description=(description or "").partition("\n")[0],
    )
    parser.add_argument("source", type=Path, help=source)
    parser.add_argument(
        "--out", type=Path, required=True, help="controller file to write, policy.onnx"
    )
    return parser


def run(
    parser: argparse.ArgumentParser,
    convert: Callable[[Arguments], Conversion],
    arguments: Sequence[str] | None,
) -> int:
    """Convert what a command line asks for, and return the exit code.

    Args:
        parser: Parser of the converter.
        convert: From the parsed arguments to a conversion.
        arguments: Command-line arguments; None for those of the process.
    """
    parsed = parser.parse_args(arguments)
    try:
        conversion = convert(parsed)
        policy, agreement = write_conversion(conversion, parsed.out)
    except SurefootError as error:
        print(f"{error.label}: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    for note in conversion.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{parsed.out}: {_described(policy)}\n{agreement.text}")
    return 0


@contextmanager
def library(name: str, brought_by: str, path: Path) -> Iterator[None]:
    """Say in one line what is not installed, or what a library says of a file that it cannot read.

    Args:
        name: The library, with its version where it is known.
        brought_by: The command that installs it.
        path: What it reads.

    Raises:
        SurefootError: As the block raises it.
        MissingLibraryError: If an import fails.
        InputError: If anything else does.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a library about its own files
            yield
    except SurefootError:
        raise  # it says it itself
    except ModuleNotFoundError as error:
        raise MissingLibraryError(
            f"{error.name} is not installed, which {path} needs; {name} comes with {brought_by}"
        ) from error
    except Exception as error:  # whatever a library or the code in its file raises
        raise InputError(f"{name} cannot read {path}: {_in_short(error)}") from error


def _in_short(error: Exception) -> str:
    """Return the first words of an error, or its class where it says nothing."""
    return shorten(str(error), _LONGEST) if str(error).strip() else type(error).__name__


def _described(policy: Policy) -> str:
    sizes = "-".join(str(size) for size in _sizes(policy))
    names = list(dict.fromkeys(layer.activation.value for layer in policy.layers[:-1]))
    return f"{sizes} {', '.join(names) or 'affine'}, {_head_text(policy)}, {_clip_text(policy)}"


def _sizes(policy: Policy) -> list[int]:
    return [policy.obs_dim, *(len(layer.bias) for layer in policy.layers)]


def _head_text(policy: Policy) -> str:
    if isinstance(policy.head, CategoricalHead):
        return "the greatest output is chosen"
    return f"squash {policy.head.squash.value}"


def _clip_text(policy: Policy) -> str:
    clip = policy.normaliser.clip
    return "no clip" if clip == float("inf") else f"states clipped to {clip:g}"
