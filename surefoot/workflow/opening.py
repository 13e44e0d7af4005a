"""Opening what is deployed, to attack it or to time it."""

import os
from dataclasses import dataclass
from pathlib import Path

from surefoot.artifact import is_folder_of
from surefoot.bundle import open_bundle
from surefoot.certificate import Certificate
from surefoot.errors import InputError
from surefoot.gate import Gate
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Array
from surefoot.runtime.controller_file import load_controller_file
from surefoot.runtime.load import require_arithmetic
from surefoot.visited import VISITED_FILE, Visited
from surefoot.workflow.listener import Listener


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Deployed:
    """A controller, and what is proved about it.

    Attributes:
        file: The controller.
        certificate: Its certificate; None for a controller without a bundle.
        gate: Gate behind which it is deployed; None for none.
        recorded: Observations of its bundle, raw units, (n, obs_dim); None where it holds none.
    """

    file: ControllerFile
    certificate: Certificate | None
    gate: Gate | None = None
    recorded: Array | None = None


def environment_module(file: ControllerFile, path: Path, given: str | None) -> str | None:
    """Return the module that registers the environment: the given one, or else the file's own.

    Args:
        file: The controller.
        path: Where it was read from.
        given: Values that the user gave.

    Raises:
        InputError: If the file names a module beside itself: whoever made the file made that.
    """
    if given is not None or file.env_module is None:
        return given
    module, folder = Path(file.env_module), path if path.is_dir() else path.parent
    if module.suffix == ".py" and Path(os.path.realpath(module)).is_relative_to(
        os.path.realpath(folder)
    ):
        raise InputError(
            f"the controller names {module} for its environment, which came with it: give"
            " --env-module if you trust it"
        )
    return file.env_module


def open_deployed(
    path: Path,
    listener: Listener,
    *,
    allow_uncertified: bool,
    output: str | None = None,
    discrete: bool = False,
) -> Deployed:
    """Open the controller of a verified bundle; any other controller only when allowed.

    Args:
        path: A bundle, a run, a policy folder or an ``.onnx`` file.
        listener: Is told that nothing is proved about another controller.
        allow_uncertified: Whether it may be another controller.
        output: Output of a foreign file that holds the actions, if it has several outputs.
        discrete: Whether a foreign file's outputs are logits, of which the largest is chosen.

    Raises:
        InputError: If the path holds no controller.
        VerificationError: If it is no bundle that verifies and uncertified ones are not allowed, or
            its certificate is about another arithmetic than the runtime has.
    """
    if path.is_file() and not allow_uncertified:
        raise InputError(f"{path} is a file, no bundle: --allow-uncertified takes it without one")
    if is_folder_of(path, "bundle") or not allow_uncertified:
        bundle = open_bundle(path, allow_uncertified=allow_uncertified)
        require_arithmetic(bundle.certificate)
        gate = None if bundle.gate is None else bundle.gate.gate
        states = bundle.files.get(VISITED_FILE)
        return Deployed(
            file=bundle.controller,
            certificate=bundle.certificate,
            gate=gate,
            recorded=None if states is None else Visited.from_bytes(states).recorded,
        )
    listener.remark(f"WARNING: {path} is not a bundle; nothing is proved about it")
    file = load_controller_file(path, output, discrete=discrete)
    return Deployed(file=file, certificate=None)
