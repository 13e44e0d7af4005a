"""Opening what is deployed, to attack it or to time it."""

from dataclasses import dataclass
from pathlib import Path

from surefoot.artifact import is_folder_of
from surefoot.bundle import open_bundle
from surefoot.certificate import Certificate
from surefoot.onnx_file import ControllerFile
from surefoot.runtime.controller_file import load_controller_file
from surefoot.runtime.load import require_arithmetic
from surefoot.workflow.listener import Listener


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Deployed:
    """A controller, and what is proved about it.

    Attributes:
        file: The controller.
        certificate: Its certificate; None for a controller without a bundle.
    """

    file: ControllerFile
    certificate: Certificate | None


def open_deployed(path: Path, listener: Listener, *, allow_uncertified: bool) -> Deployed:
    """Open the controller of a verified bundle; any other controller only when allowed.

    Raises:
        InputError: If the path holds no controller.
        VerificationError: If it is no bundle that verifies and uncertified ones are not allowed, or
            its certificate is about another arithmetic than the runtime has.
    """
    if is_folder_of(path, "bundle") or not allow_uncertified:
        bundle = open_bundle(path, allow_uncertified=allow_uncertified)
        require_arithmetic(bundle.certificate)
        return Deployed(file=bundle.controller, certificate=bundle.certificate)
    listener.remark(f"WARNING: {path} is not a bundle; nothing is proved about it")
    return Deployed(file=load_controller_file(path), certificate=None)
