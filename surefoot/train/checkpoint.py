"""Checkpoints: complete, verified, atomic, and free of pickle.

    checkpoints/latest                  the name of the newest folder
    checkpoints/000123456/              one artifact per checkpoint: state.json, arrays.safetensors,
                                        best.onnx; its manifest holds the configuration and digests

A checkpoint is a tree of dicts whose leaves are arrays, numbers and strings.
"""

import shutil
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from surefoot.artifact import (
    Artifact,
    Json,
    from_json,
    read_artifact,
    read_file,
    to_json,
    write_artifact,
    write_file,
)
from surefoot.config import differences
from surefoot.errors import InputError, IntegrityError, SurefootError
from surefoot.policy import Array
from surefoot.version import __version__

Tree = dict[str, Any]

_ARRAY = "$array"
_NUM_KEPT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        step: Environment steps that were done.
        tree: The state.
        files: Further files by name.
        config: Configuration of the run that saved it, as plain values; known once it is loaded.
    """

    step: int
    tree: Tree
    files: Mapping[str, bytes]
    config: Mapping[str, Json] = field(default_factory=dict)


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
        self._damaged: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for stale in [*folder.glob(".*.tmp"), *folder.glob(".*.old")]:
                shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        except OSError as error:
            raise InputError(f"cannot write {folder}: {error.strerror}") from error

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
        write_artifact(self._folder / name, artifact)
        write_file(self._folder / "latest", name.encode())
        self._damaged.discard(name)
        sound = [other for other in self._names() if other not in self._damaged]
        for old in [*sound[:-_NUM_KEPT], *self._damaged]:
            shutil.rmtree(self._folder / old, ignore_errors=True)

    def load(self) -> Checkpoint | None:
        """Return the newest checkpoint that holds, or None if there is none.

        One that is damaged is passed over for the one before it. If other versions of the libraries
        wrote it, as far as it says, a warning names them.

        Raises:
            InputError: If the checkpoints are of another configuration.
            IntegrityError: If there are checkpoints and every one is damaged.
        """
        damage: SurefootError | None = None
        for name in self._candidates():
            try:
                artifact = read_artifact(self._folder / name, "checkpoint")
            except (IntegrityError, InputError) as error:
                damage = error
                self._damaged.add(name)
                continue
            self._check(artifact.facts["config"], artifact.code_version)
            self._warn_of_other(artifact.facts.get("versions", {}))
            content = from_json(artifact.files["state.json"], f"{name}/state.json")
            arrays = load(artifact.files["arrays.safetensors"])
            return Checkpoint(
                step=content["step"],
                tree=_with_arrays(content["tree"], arrays),
                files=artifact.files,
                config=artifact.facts["config"],
            )
        if damage is not None:
            raise IntegrityError(f"every checkpoint is damaged: {damage}") from damage
        return None

    def _names(self) -> list[str]:
        return sorted(entry.name for entry in self._folder.iterdir() if entry.name.isdigit())

    def _candidates(self) -> list[str]:
        """Return the checkpoints from newest to oldest, starting at the one pointed to."""
        names = self._names()[::-1]
        pointer = self._folder / "latest"
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
                f"the newest checkpoint of {self._folder} is of other versions ({changes}): the run"
                " goes on, but not to the result that it would have had",
                stacklevel=2,
            )


def _versions() -> dict[str, Json]:
    """Return the versions on which the bits of a training depend."""
    names = ("torch", "numpy", "mujoco", "gymnasium")
    return {"surefoot": __version__} | {name: version(name) for name in names}


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
