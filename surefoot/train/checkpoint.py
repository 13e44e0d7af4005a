"""Checkpoints: complete, verified, atomic, and free of pickle.

    checkpoints/latest                  the name of the newest folder
    checkpoints/000123456/              one artifact per checkpoint: state.json, arrays.safetensors,
                                        best.onnx; its manifest holds the configuration and digests

A checkpoint is a tree of dicts whose leaves are arrays, numbers and strings.
"""

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from surefoot.artifact import (
    Artifact,
    Json,
    from_json,
    os_errors,
    read_artifact,
    read_file,
    to_json,
    write_artifact,
    write_file,
)
from surefoot.atomic import clear_leftovers, discard_folder, make_folders
from surefoot.config import differences
from surefoot.errors import InputError, IntegrityError, SurefootError
from surefoot.kernels import running_kernels
from surefoot.policy import Array
from surefoot.version import __version__

Tree = dict[str, Any]

_ARRAY = "$array"
_NUM_KEPT = 2
_LATEST = "latest"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        step: Environment steps that were done.
        tree: The state.
        files: Further files by name.
        config: Configuration of the run that saved it, as plain values; known once it is loaded.
        code_version: Version of surefoot that made it.
    """

    step: int
    tree: Tree
    files: Mapping[str, bytes]
    config: Mapping[str, Json] = field(default_factory=dict)
    code_version: str = __version__


class CheckpointStore:
    """The checkpoints of one run, newest last."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Json],
        free: Collection[str] = (),
        check: Callable[[Mapping[str, Json], str], None] | None = None,
    ) -> None:
        """Use a folder for a run.

        Args:
            folder: Is made if it is not there.
            config: Configuration of the run, as plain values.
            free: Keys in which a checkpoint may differ.
            check: Takes configuration and code version of a checkpoint and refuses one of another
                run; it stands in for the comparison of all keys that are not free.

        Raises:
            InputError: If the folder cannot be written.
        """
        self._folder = folder
        self._config = dict(config)
        self._free = frozenset(free)
        self._check = check or self._refuse_other
        self._stale: set[str] = set()
        with os_errors(f"cannot write {folder}"):
            make_folders(folder)
            clear_leftovers(folder)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, point to it, and drop those that are too old.

        Raises:
            InputError: If it cannot be written; older checkpoints are as they were.
        """
        arrays: dict[str, Array] = {}
        content = _without_arrays(checkpoint.tree, "", arrays)
        files = {
            **checkpoint.files,
            "state.json": to_json({"step": checkpoint.step, "tree": content}),
            "arrays.safetensors": save(arrays),
        }
        name = f"{checkpoint.step:012d}"
        facts: dict[str, Json] = {"config": self._config, "versions": _versions()}
        artifact = Artifact(kind="checkpoint", files=files, facts=facts)
        with os_errors(f"cannot write {self._folder}"):
            if name in self._stale:
                discard_folder(self._folder / name)
            write_artifact(self._folder / name, artifact)
            write_file(self._folder / _LATEST, name.encode())
            self._stale.discard(name)
            self._drop_old()
            for stale in self._stale:
                discard_folder(self._folder / stale)
            self._stale.clear()

    def load(self) -> Checkpoint | None:
        """Return the newest checkpoint that holds, or None if there is none.

        One that is damaged is passed over for the one before it; if none holds, a warning says so.
        If other versions of the libraries wrote it, as far as it says, a warning names them.

        Raises:
            InputError: If the checkpoints are of another configuration.
        """
        damage: SurefootError | None = None
        for name in self._candidates():
            try:
                artifact = read_artifact(self._folder / name, "checkpoint")
                checkpoint = _checkpoint_of(artifact, name)
            except (IntegrityError, InputError) as error:
                damage = error
                self._stale.add(name)
                continue
            self._check(checkpoint.config, checkpoint.code_version)
            # What is newer has not been read, and will be made again.
            self._stale |= {other for other in self._names() if other > name}
            with os_errors(f"cannot write {self._folder}"):
                self._drop_old()
            self._warn_of_other(artifact.facts.get("versions", {}))
            return checkpoint
        if damage is not None:
            warnings.warn(
                f"every checkpoint in {self._folder} is damaged, so that it begins again: {damage}",
                stacklevel=2,
            )
        return None

    def _drop_old(self) -> None:
        """Keep the newest, as many as are kept.

        Raises:
            OSError: If one of the others cannot be removed.
        """
        sound = [name for name in self._names() if name not in self._stale]
        for old in sound[:-_NUM_KEPT]:
            discard_folder(self._folder / old)

    def _names(self) -> list[str]:
        return sorted(entry.name for entry in self._folder.iterdir() if entry.name.isdigit())

    def _candidates(self) -> list[str]:
        """Return the checkpoints from newest to oldest, starting at the one pointed to."""
        names = self._names()[::-1]
        pointer = self._folder / _LATEST
        latest = read_file(pointer).decode(errors="replace") if pointer.is_file() else ""
        return sorted(names, key=lambda name: name != latest)

    def _refuse_other(self, stored: Mapping[str, Json], code_version: str) -> None:
        del code_version
        if changes := differences(stored, self._config, self._free):
            raise InputError(
                f"{self._folder} holds checkpoints of another configuration ({changes}):"
                " use another output folder or the same configuration"
            )

    def _warn_of_other(self, stored: Mapping[str, Json]) -> None:
        if stored and (changes := differences(stored, _versions())):
            warnings.warn(
                f"the newest checkpoint of {self._folder} was written with other versions"
                f" ({changes}): the run resumes, but its result will differ",
                stacklevel=2,
            )


def read_checkpoint(folder: Path, step: int) -> Checkpoint:
    """Return the checkpoint of a step, and leave the others alone.

    Args:
        folder: The checkpoints of a run.
        step: Environment steps that were done.

    Raises:
        InputError: If there is none.
        IntegrityError: If it is damaged.
    """
    name = f"{step:012d}"
    return _checkpoint_of(read_artifact(folder / name, "checkpoint"), name)


def _versions() -> dict[str, Json]:
    """Return the versions on which the bits of a training depend, and the kernels."""
    names = ("torch", "numpy", "mujoco", "gymnasium")
    versions = {"surefoot": __version__} | {name: version(name) for name in names}
    kernels = running_kernels()
    own = f"those of {kernels.processor}"
    return versions | {"kernels": "pinned" if kernels.unpinned is None else own}


def _checkpoint_of(artifact: Artifact, name: str) -> Checkpoint:
    """Read the checkpoint in an artifact.

    Raises:
        IntegrityError: If that is no checkpoint.
    """
    try:
        content = from_json(artifact.files["state.json"], f"{name}/state.json")
        arrays = load(artifact.files["arrays.safetensors"])
        return Checkpoint(
            step=content["step"],
            tree=_with_arrays(content["tree"], arrays),
            files=artifact.files,
            config=artifact.facts["config"],
            code_version=artifact.code_version,
        )
    except (KeyError, TypeError, SafetensorError) as error:
        raise IntegrityError(f"{name} is no checkpoint") from error


def _without_arrays(value: Any, path: str, arrays: dict[str, Array]) -> Json:  # noqa: ANN401
    """Return ``value`` with every array moved to ``arrays`` and replaced by its name."""
    if isinstance(value, np.ndarray):
        arrays[path] = np.array(value, order="C")
        return {_ARRAY: path}
    if isinstance(value, Mapping):
        return {
            key: _without_arrays(entry, f"{path}/{key}", arrays) for key, entry in value.items()
        }
    return value


def _with_arrays(value: Json, arrays: Mapping[str, Array]) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: _with_arrays(entry, arrays) for key, entry in value.items()}
    return value
