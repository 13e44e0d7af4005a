"""Libraries that a verb needs beside those of every installation: loaded before its work."""

import importlib
import os

from surefoot.errors import InputError, MissingLibraryError
from surefoot.installation import how_to_install

_EXTRAS = {
    "gymnasium": "train",
    "imageio_ffmpeg": "video",
    "matplotlib": "train",
    "mlflow": "mlflow",
    "mujoco": "train",
    "tensorboard": "train",
    "ray": "ray",
    "torch": "train",
    "onnxruntime": "cpu",
}
_VARIABLES = {"mujoco": ("MUJOCO_",), "torch": ("TORCH", "PYTORCH_", "CUDA_")}
"""How the environment variables begin that a library reads when it is loaded."""


def load_simulation() -> None:
    """Load what trains and plays: PyTorch, MuJoCo and Gymnasium.

    Raises:
        MissingLibraryError: If one is not installed.
        InputError: If one refuses to be loaded, as MuJoCo does under a wrong ``MUJOCO_GL``.
    """
    for name in ("torch", "mujoco", "gymnasium"):
        _load(name)


def hint_to_install(error: ModuleNotFoundError) -> str | None:
    """Return the install hint for a missing module, None if no extra brings it."""
    library = (error.name or "").partition(".")[0]
    if library not in _EXTRAS:
        return None
    return f"{library} is not installed: {how_to_install(_EXTRAS[library])}"


def _load(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (hint := hint_to_install(error)) is None:
            raise
        raise MissingLibraryError(hint) from error
    except Exception as error:  # a library may raise anything at what it finds in the environment
        said = next(iter(str(error).splitlines()), type(error).__name__)
        found = [
            f"{variable}={value}"
            for variable, value in os.environ.items()
            if variable.startswith(_VARIABLES.get(name, ()))
        ]
        raise InputError(
            f"{name} cannot be loaded here: {said} (environment: {', '.join(found) or 'nothing'})"
        ) from error
