"""The policy folder, whose heart is its ONNX file: written, and read back."""

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
from surefoot.onnx_file.controller import ControllerFile, controller_from_onnx, policy_from_onnx
from surefoot.onnx_file.graph import POLICY_FILE
from surefoot.onnx_file.write import policy_to_onnx
from surefoot.policy import Policy
from surefoot.run_folder import policy_places


def save_policy(
    folder: Path,
    policy: Policy,
    *,
    metadata: Mapping[str, Json] | None = None,
    facts: Mapping[str, Json] | None = None,
    inputs: Mapping[str, str] | None = None,
    extra_files: Mapping[str, bytes] | None = None,
) -> bytes:
    """Write a policy folder (`policy.onnx`, extra files, manifest) and return the ONNX bytes.

    Raises:
        InputError: If the folder is not ours or cannot be written, or the policy is not float32.
    """
    data = policy_to_onnx(policy, metadata)
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


def load_controller_file(path: Path, output: str | None = None) -> ControllerFile:
    """Read a controller from a run, a policy folder, a bundle or a bare `.onnx` file.

    Args:
        path: A folder, or an ONNX file that anybody wrote.
        output: Which output of a stranger's file are the actions, if it has several.

    Raises:
        InputError: If the path holds none of these.
        IntegrityError: If a manifest beside it does not hold.
    """
    if path.is_file():
        return controller_from_onnx(read_file(path), str(path), output)
    for folder in policy_places(path):
        if (folder / MANIFEST).is_file() or (folder / POLICY_FILE).is_file():
            kind = "bundle" if is_folder_of(folder, "bundle") else "policy"
            files = read_artifact(folder, kind).files
            if POLICY_FILE not in files:
                raise IntegrityError(f"{folder}: {POLICY_FILE} is missing")
            return policy_from_onnx(files[POLICY_FILE], str(folder / POLICY_FILE))
    raise InputError(f"{path} is no run, policy folder, bundle or .onnx file")
