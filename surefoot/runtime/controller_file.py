"""Reading any controller file: the one way to a `ControllerFile` of a file that others wrote.

What was understood of such a file is compared with ONNX Runtime on the very file. Only then is it a
`ControllerFile`, which is what certification, compression, export and attacks take.
"""

from pathlib import Path

from surefoot.onnx_file import ControllerFile, ForeignFile, Origin, read_onnx, read_path
from surefoot.runtime.agreement import check_agreement


def load_controller_file(
    path: Path, output: str | None = None, *, discrete: bool = False
) -> ControllerFile:
    """Read a controller from a run, a policy folder, a bundle or a bare `.onnx` file.

    Args:
        path: A folder, or an ONNX file that anybody wrote.
        output: Output of a foreign file that holds the actions, if it has several outputs.
        discrete: Whether a foreign file's outputs are logits, of which the largest is chosen.

    Raises:
        InputError: If the path holds none of these, or a file that is not understood.
        IntegrityError: If a manifest beside it does not hold.
        CheckError: If ONNX Runtime computes something else than what was understood.
        MissingLibraryError: If a foreign file is read without ONNX Runtime.
    """
    return _agreed(read_path(path, output, discrete=discrete))


def controller_from_onnx(data: bytes, name: str, output: str | None = None) -> ControllerFile:
    """Read a controller from the bytes of an ONNX file; see :func:`load_controller_file`.

    Args:
        data: The bytes of the file.
        name: How error messages call it.
        output: Output of a foreign file that holds the actions, if it has several outputs.

    Raises:
        InputError: If it is no controller, or one that is not understood.
        IntegrityError: If it is a canonical file that was changed.
        CheckError: If ONNX Runtime computes something else than what was understood.
        MissingLibraryError: If a foreign file is read without ONNX Runtime.
    """
    return _agreed(read_onnx(data, name, output))


def _agreed(file: ControllerFile | ForeignFile) -> ControllerFile:
    if isinstance(file, ControllerFile):
        return file
    origin = Origin(
        interface=file.interface,
        original=file.original,
        agreement=check_agreement(file),
        notes=file.notes,
    )
    return ControllerFile(
        policy=file.policy, properties=file.properties, data=file.data, origin=origin
    )
