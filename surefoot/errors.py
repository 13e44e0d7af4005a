"""What users see when something is wrong, and the exit code that goes with it."""

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

_MOST_COMPARED = 1 << 12
"""Known names that an unknown one is compared with: a file may have a million columns."""


class SurefootError(Exception):
    """Base of the errors that surefoot raises on purpose; the command line prints one line."""

    exit_code: int = 1
    """Exit code of the command line when this error ends it."""

    label: str = "error"
    """First word of the line that the command line prints."""


class InputError(SurefootError, ValueError):
    """Bad input or configuration: the message names the parameter, the rule and the value."""

    exit_code = 2


class FolderInUseError(InputError):
    """Another process works in the folder: wait for it, or use another one."""


class MissingLibraryError(InputError):
    """An optional library or a device that was asked for is not there; nothing else is used."""


class CheckError(SurefootError):
    """A check of surefoot's own failed: parity, a diverged simulation, a violated certificate."""

    exit_code = 3


class DivergenceError(CheckError):
    """The simulation or the training became non-finite; the last good checkpoint is kept."""


class UnprovedError(CheckError):
    """A claim cannot be proved again, because what it rests on is missing."""

    exit_code = 4


class RejectedError(CheckError):
    """The gate of a controller lets no action through: it has stopped, or has none to hold."""


class UserCodeError(CheckError):
    """Code of the user failed: the message names its environment and the step."""


class ReplayError(CheckError):
    """A task does not repeat itself, so that episodes in progress cannot be taken up again."""


class IntegrityError(SurefootError):
    """A digest or a format does not hold: what was read was damaged, or is about something else."""

    exit_code = 2


class OtherEvidenceError(IntegrityError):
    """What was given is not what the certificate rests on."""


class VerificationError(IntegrityError):
    """A bundle, or a signature on it, does not verify: it must not be deployed."""

    exit_code = 5


class InterruptedRun(SurefootError):  # noqa: N818 - an interruption is not an error of the user
    """The run was asked to stop, wrote a checkpoint, and resumes with the same command."""

    exit_code = 75
    label = "interrupted"


class InterruptedVerb(SurefootError):  # noqa: N818 - as above
    """Ctrl-C ended a verb without a checkpoint: files are whole, the step begins anew."""

    exit_code = 130  # 128 + SIGINT, as shells have it
    label = "interrupted"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the nearest known name, or an empty string."""
    matches = get_close_matches(name, list(islice(known, _MOST_COMPARED)), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
