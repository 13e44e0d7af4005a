"""A TorchScript module to a controller file, such as the policy.pt that Isaac Lab exports.

    python -m surefoot.convert.torchscript exported/policy.pt --out policy.onnx

PyTorch loads the module and runs its code: convert only what you trust.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.artifact import read_file
from surefoot.convert.command_line import library, parser_of, run
from surefoot.convert.conversion import Conversion, metadata_of
from surefoot.convert.torch_layers import array_of
from surefoot.errors import InputError
from surefoot.installation import how_to_install
from surefoot.onnx_file import INPUT, OPSET, OUTPUT, POLICY_FILE, read_onnx
from surefoot.policy import Array

if TYPE_CHECKING:
    import torch

_STANDARD_OUTPUT = 1
_BROUGHT_BY = how_to_install("train")
_RECURRENT = "GRU", "LSTM", "RNN"


def convert(path: Path, width: int | None = None) -> Conversion:
    """Return the policy that a module computes.

    Args:
        path: What ``torch.jit.save`` wrote: a module that takes observations of shape (n, obs_dim)
            and returns actions of shape (n, act_dim).
        width: Number of observations; that of its first statistics or weights if nothing is said.

    Raises:
        InputError: If the file is no such module, or computes what a controller may not.
        MissingLibraryError: If PyTorch is not installed.
    """
    data = read_file(path)
    with library("PyTorch", _BROUGHT_BY, path):
        module, installed = _load(path), version("torch")
    _refuse_memory(module, path)
    given = width or _width_of(module, path)
    with library(f"PyTorch {installed}", _BROUGHT_BY, path):
        exported = _exported(module, given)
    policy = read_onnx(exported, str(path)).policy
    return Conversion(
        policy=policy,
        predict=lambda obs: _predict(module, obs),
        metadata=metadata_of(
            policy, data, library="torch", library_version=installed, algorithm="TorchScript"
        ),
    )


def _load(path: Path) -> "torch.jit.ScriptModule":
    import torch

    module: torch.jit.ScriptModule = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    return module.eval()


def _refuse_memory(module: "torch.jit.ScriptModule", path: Path) -> None:
    """Refuse modules whose actions depend on earlier observations.

    Raises:
        InputError: If one of its parts is recurrent.
    """
    for name, part in module.named_modules():
        if part.original_name.removesuffix("Cell") in _RECURRENT:
            raise InputError(f"{path}: {name} is a {part.original_name}, which has a memory")


def _width_of(module: "torch.jit.ScriptModule", path: Path) -> int:
    """Return the width of the first matrix of a module: a row of statistics, or weights.

    Raises:
        InputError: If it has none, as frozen modules have.
    """
    for tensor in module.state_dict().values():
        if tensor.ndim == 2:
            return int(tensor.shape[1])
    raise InputError(f"--observations must be said: {path} holds no weights by name")


def _exported(module: "torch.jit.ScriptModule", width: int) -> bytes:
    """Return the module as PyTorch's own exporter writes it to ONNX."""
    import torch

    with tempfile.TemporaryDirectory() as folder, _silent():
        file = Path(folder, POLICY_FILE)
        torch.onnx.export(
            module,
            (torch.zeros(1, width),),
            file,
            dynamo=False,  # the other exporter takes no TorchScript
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "N"}, OUTPUT: {0: "N"}},
        )
        return file.read_bytes()


@contextmanager
def _silent() -> Iterator[None]:
    """Let nothing be printed: the exporter prints a graph that it cannot write, from C++."""
    sys.stdout.flush()
    with Path(os.devnull).open("w") as nowhere:
        before = os.dup(_STANDARD_OUTPUT)
        try:
            os.dup2(nowhere.fileno(), _STANDARD_OUTPUT)
            yield
        finally:
            os.dup2(before, _STANDARD_OUTPUT)
            os.close(before)


def _predict(module: "torch.jit.ScriptModule", obs: Array) -> Array:
    """Return the module's own actions, (n, act_dim), for raw observations."""
    import torch

    with torch.no_grad():
        return array_of(module(torch.from_numpy(obs)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert what the command line names, and return the exit code."""
    parser = parser_of("torchscript", __doc__, "policy.pt, as torch.jit.save() wrote it")
    parser.add_argument(
        "--observations", type=int, help="their number, where the module does not show it"
    )
    return run(parser, lambda parsed: convert(parsed.source, parsed.observations), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
