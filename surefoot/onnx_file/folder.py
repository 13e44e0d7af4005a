"""The policy folder, whose heart is its ONNX file: written, and read back."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from surefoot.artifact import (
    MANIFEST,
    Artifact,
    Json,
    is_folder_of,
    read_artifact,
    read_file,
    write_artifact,
)
from surefoot.errors import InputError, IntegrityError
from surefoot.limits import MAX_BUNDLE_BYTES
from surefoot.onnx_file.controller import ControllerFile, policy_from_onnx, read_onnx
from surefoot.onnx_file.foreign import ForeignFile
from surefoot.onnx_file.graph import POLICY_FILE
from surefoot.onnx_file.write import policy_to_onnx
from surefoot.policy import Policy
from surefoot.run_folder import controller_folder, policy_places
from surefoot.signing import SIGNATURES_FILE

_CONVERTERS = {
    "a checkpoint of Stable-Baselines3": ("sb3",),
    "a TorchScript module": ("torchscript",),
    "a file of PyTorch": ("rsl_rl", "cleanrl"),
    "a Python pickle": ("sb3", "rsl_rl", "cleanrl", "brax"),
}
"""The module of `surefoot.convert` for each kind of file that may hold pickles."""


def save_policy(
    folder: Path,
    policy: Policy,
    *,
    metadata: Mapping[str, Json] | None = None,
    properties: Mapping[str, str] | None = None,
    facts: Mapping[str, Json] | None = None,
    inputs: Mapping[str, str] | None = None,
    extra_files: Mapping[str, bytes] | None = None,
) -> bytes:
    """Write a policy folder (`policy.onnx`, extra files, manifest) and return the ONNX bytes.

    Raises:
        InputError: If the folder is not ours or cannot be written, or the policy is not float32.
    """
    data = policy_to_onnx(policy, metadata, properties)
    files = {POLICY_FILE: data, **(extra_files or {})}
    write_artifact(
        folder, Artifact(kind="policy", files=files, facts=facts or {}, inputs=inputs or {})
    )
    return data


def load_policy(folder: Path) -> tuple[ControllerFile, Artifact]:
    """Read a policy folder back, with everything its manifest says.

    Raises:
        InputError: If there is no such folder, or its file is no controller.
        IntegrityError: If a file is missing or was changed.
    """
    artifact = read_artifact(folder, "policy")
    if POLICY_FILE not in artifact.files:
        raise IntegrityError(f"{folder}: {POLICY_FILE} is missing")
    return policy_from_onnx(artifact.files[POLICY_FILE], f"{folder / POLICY_FILE}"), artifact


def read_path(
    path: Path, output: str | None = None, *, discrete: bool = False
) -> ControllerFile | ForeignFile:
    """Read a controller from a run, a policy folder, a bundle or a bare `.onnx` file.

    Args:
        path: A folder, or an ONNX file that anybody wrote.
        output: Output of a foreign file that holds the actions, if it has several outputs.
        discrete: Whether a foreign file's outputs are logits, of which the largest is chosen.

    Raises:
        InputError: If the path holds none of these.
        IntegrityError: If a manifest beside it does not hold.
    """
    if path.is_file():
        data = read_file(path)
        _refuse_other_format(data, path)
        return read_onnx(data, str(path), output, path.parent, discrete=discrete)
    for folder in policy_places(path):
        if (folder / MANIFEST).is_file() or (folder / POLICY_FILE).is_file():
            files = _read_folder(folder).files
            if POLICY_FILE not in files:
                raise IntegrityError(f"{folder}: {POLICY_FILE} is missing")
            file = policy_from_onnx(files[POLICY_FILE], str(folder / POLICY_FILE))
            file.require_choice(discrete=discrete)
            return file
    raise InputError(f"{path} is not a run, policy folder, bundle or .onnx file")


def read_beside(path: Path) -> Artifact | None:
    """Read the policy folder or bundle that a path means; None if it means neither.

    Args:
        path: A run, a policy folder, a bundle or anything else, such as a bare ``.onnx`` file.

    Raises:
        IntegrityError: If the folder does not verify.
    """
    folder = controller_folder(path)
    return None if folder is None else _read_folder(folder)


def _read_folder(folder: Path) -> Artifact:
    """Read a folder that holds a controller, a bundle with or without its signatures.

    Raises:
        InputError: If it is neither a bundle nor a policy folder.
        IntegrityError: If it does not verify.
    """
    if is_folder_of(folder, "bundle"):
        beside = {SIGNATURES_FILE}
        return read_artifact(folder, "bundle", beside, max_bytes=MAX_BUNDLE_BYTES)
    return read_artifact(folder, "policy")


def _refuse_other_format(data: bytes, path: Path) -> None:
    """Refuse a file mistaken for a controller, and say how to make an ONNX file of it.

    Raises:
        InputError: If the file is a checkpoint, a pickle or another archive.
    """
    kind = _other_format(data)
    if kind is None:
        return
    if kind not in _CONVERTERS:
        raise InputError(f"{path} is {kind}, not an ONNX file: export the actor that it holds")
    modules = [f"python -m surefoot.convert.{name}" for name in _CONVERTERS[kind]]
    raise InputError(
        f"{path} is {kind}, not an ONNX file: where its library is installed, "
        f"{' or '.join(modules)} {path} --out policy.onnx converts it"
    )


def _other_format(data: bytes) -> str | None:
    """Name the format of a file mistaken for a controller; None if it may be ONNX.

    Nothing of it is loaded: these formats can hold pickles, which execute code.
    """
    if data.startswith(b"\x80") and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle"
    if not zipfile.is_zipfile(io.BytesIO(data)) or not data.startswith(b"PK"):
        return None
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
    if "policy.pth" in names:
        return "a checkpoint of Stable-Baselines3"
    if any("/code/" in name for name in names):
        return "a TorchScript module"
    if any(name.endswith("data.pkl") for name in names):
        return "a file of PyTorch"
    return "a zip archive"
