"""Adopting: a controller that others made becomes the policy folder of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from surefoot.artifact import Json, check_artifact_place, is_folder_of, read_artifact
from surefoot.config import to_table
from surefoot.errors import InputError
from surefoot.limits import MAX_FILE_BYTES, MAX_FILES
from surefoot.onnx_file import (
    POLICY_FILE,
    Adopted,
    ControllerFile,
    Description,
    Origin,
    policy_from_onnx,
    policy_to_onnx,
    save_policy,
)
from surefoot.output_path import check_artifact_folder, check_run_folder
from surefoot.ownership import hold_folder
from surefoot.policy import CategoricalHead, Policy
from surefoot.run_folder import RunFolder
from surefoot.runtime.canonical import CanonicalDifference, check_canonical
from surefoot.runtime.controller_file import load_controller_file
from surefoot.visited import VISITED_FILE, Visited
from surefoot.workflow.listener import SILENCE, Listener
from surefoot.workflow.source import Source

ORIGINAL_FILE = "original.onnx"
"""Name of the adopted file in the policy folder; ``original.1.data`` and so on lie beside it."""

_MOST_BESIDE = MAX_FILES - 8
"""Files with constants of the original, so that the folder has room for what is made of it."""

_NUM_STATES = 384


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AdoptedController:
    """A run that was begun with a controller of others.

    Attributes:
        run: The run folder.
        file: Its canonical file, as read back.
        origin: Where it comes from.
        difference: What the canonical file computes otherwise than the original.
        description: What the metadata say about the robot.
        warnings: What the metadata say otherwise than the graph, a sentence each.
        visited: What it visits, as the folder has it; None where it has nothing.
    """

    run: RunFolder
    file: ControllerFile
    origin: Origin
    difference: CanonicalDifference
    description: Description
    warnings: tuple[str, ...]
    visited: Visited | None


def adopt_controller(
    source: Path,
    out: Path,
    *,
    output: str | None = None,
    env_id: str | None = None,
    env_module: str | None = None,
    visited: Visited | None = None,
    visited_states: int | None = None,
    listener: Listener = SILENCE,
) -> AdoptedController:
    """Make the policy folder of a run from an ONNX file that others wrote.

    The canonical file is compared with the original on ONNX Runtime. The original is kept beside
    it, byte for byte; its metadata go into the canonical file as they are.

    Args:
        source: An ``.onnx`` file of others.
        out: The run folder.
        output: Which output of the file are the actions, if it has several.
        env_id: Gymnasium id of the environment that it controls; it is checked against it.
        env_module: Module or file that registers the environment.
        visited: What it visits, instead of playing it.
        visited_states: States to record in the environment; None for 384, 0 for none.
        listener: Is told what should be known of the file.

    Raises:
        InputError: If the source is no controller of others, or one that is not understood, does
            not fit the environment or the states; or ``out`` is not ours or holds another one.
        IntegrityError: If a file of the source is too large.
        CheckError: If ONNX Runtime computes something else than what was understood.
    """
    run = RunFolder(out)
    check_run_folder(out)
    check_artifact_folder(run.policy, (source,))
    original = _read(source, output)
    origin = _origin_of(original, source)
    _refuse_other_policy(run, origin.original.sha256)
    _check_visited(visited, original.policy)
    for note in origin.notes:
        listener.remark(note)
    description = Description.of(original.properties)
    warnings = description.contradictions(original.policy)
    for words in warnings:
        listener.remark(f"WARNING: {words}")
    for words in description.left_to_do(original.policy):
        listener.remark(words)
    metadata = _metadata_of(origin, original.policy, env_id, env_module)
    data = policy_to_onnx(original.policy, metadata, original.properties)
    file = policy_from_onnx(data)
    difference = check_canonical(original, file)
    if visited is None:
        visited = _played(run, file, env_module, visited_states)
    with hold_folder(run.path, "run"):
        check_artifact_place(run.policy, "policy")
        save_policy(
            run.policy,
            file.policy,
            metadata=metadata,
            properties=original.properties,
            facts={"adopted": _facts_of(source, origin, difference)},
            inputs={POLICY_FILE: origin.original.sha256},
            extra_files=_kept(origin) | ({VISITED_FILE: visited.to_bytes()} if visited else {}),
        )
    return AdoptedController(
        run=run,
        file=file,
        origin=origin,
        difference=difference,
        description=description,
        warnings=warnings,
        visited=visited,
    )


def _read(source: Path, output: str | None) -> ControllerFile:
    """Read a file of others.

    Raises:
        InputError: If it is a folder, or no controller that is understood.
    """
    if source.is_dir():
        raise InputError(f"adopt takes an .onnx file that others wrote, {source} is a folder")
    return load_controller_file(source, output)


def _origin_of(file: ControllerFile, source: Path) -> Origin:
    """Return where a file of others comes from.

    Raises:
        InputError: If it is a file of surefoot, or has more than a policy folder can keep.
    """
    if file.origin is None:
        raise InputError(
            f"{source} is a file of surefoot already: certify and export its policy folder"
        )
    original = file.origin.original
    if len(original.beside) > _MOST_BESIDE:
        raise InputError(
            f"{source}: its constants must lie in at most {_MOST_BESIDE} files, lie in "
            f"{len(original.beside)}: save it as one file"
        )
    size = len(file.data) + len(original.data) + sum(map(len, original.beside.values()))
    if size > MAX_FILE_BYTES:
        raise InputError(
            f"{source}: it and its canonical file must have at most {MAX_FILE_BYTES} bytes "
            f"together, have {size}"
        )
    return file.origin


def _refuse_other_policy(run: RunFolder, sha256: str) -> None:
    """Refuse a run whose policy is not this one, adopted before.

    Raises:
        InputError: If its folder holds another one.
    """
    if not is_folder_of(run.policy, "policy"):
        return
    held = read_artifact(run.policy, "policy")
    if "adopted" not in held.facts or held.inputs.get(POLICY_FILE) != sha256:
        raise InputError(f"{run.path} holds another controller: give another --out")


def _check_visited(visited: Visited | None, policy: Policy) -> None:
    if visited is not None and visited.pool.shape[1] != policy.obs_dim:
        raise InputError(
            f"states must have {policy.obs_dim} numbers each, as the controller has sensors, have "
            f"{visited.pool.shape[1]}"
        )


def _metadata_of(
    origin: Origin, policy: Policy, env_id: str | None, env_module: str | None
) -> dict[str, Json]:
    """Return the canonical file's metadata: its origin and its environment.

    Raises:
        InputError: If the environment has other sensors or actuators.
    """
    metadata: dict[str, Json] = {"adopted": to_table(Adopted.of(origin))}
    if env_id is None:
        if env_module is not None:
            raise InputError(f"env_module: of no effect without --env, got {env_module}")
        return metadata
    return metadata | _environment_metadata(policy, env_id, env_module)


def _environment_metadata(policy: Policy, env_id: str, env_module: str | None) -> dict[str, Json]:
    """Return a file's metadata about the environment that it controls, as trained files have them.

    Raises:
        InputError: If the policy does not fit it.
    """
    from surefoot.envs import DiscreteActions, describe_env

    spec = describe_env(env_id, env_module)
    if spec.obs_dim != policy.obs_dim:
        raise InputError(
            f"{env_id} has {spec.obs_dim} sensors, the controller takes {policy.obs_dim}"
        )
    takes = spec.actions.num if isinstance(spec.actions, DiscreteActions) else spec.actions.dim
    kinds = isinstance(spec.actions, DiscreteActions), isinstance(policy.head, CategoricalHead)
    if kinds[0] != kinds[1] or takes != policy.num_outputs:
        words = ["choices" if kind else "numbers" for kind in kinds]
        raise InputError(
            f"{env_id} takes {takes} {words[0]}, the controller gives {policy.num_outputs} "
            f"{words[1]}"
        )
    return {
        "control": {"dt_s": spec.dt_s, "max_episode_steps": spec.max_episode_steps},
        "env": {"id": spec.env_id, "module": env_module, "packages": dict(spec.packages)},
    }


def _played(
    run: RunFolder, file: ControllerFile, env_module: str | None, visited_states: int | None
) -> Visited | None:
    """Play the policy in its environment and return what it visits; None for no states.

    Raises:
        InputError: If states are wanted without an environment, or fewer than none.
    """
    num_states = visited_states
    if num_states is None:
        num_states = 0 if file.env_id is None else _NUM_STATES
    if num_states < 0:
        raise InputError(f"visited-states must be at least 0, got {num_states}")
    if not num_states:
        return None
    source = Source(
        folder=run.policy,
        file=file,
        visited=None,
        observations=None,
        critic=None,
        env_module=env_module,
    )
    return source.play(file.policy, num_states, instead="--env")


def _facts_of(source: Path, origin: Origin, difference: CanonicalDifference) -> dict[str, Json]:
    return {
        "source": source.name,
        "sha256": origin.original.sha256,
        "files": {ORIGINAL_FILE: source.name, **_places_beside(origin)},
        "agreement": origin.agreement.to_table(),
        "canonical": difference.to_table(),
        "notes": list(origin.notes),
    }


def _places_beside(origin: Origin) -> dict[str, str]:
    """Return where the original names its constants, by the name of the file that is kept."""
    places = sorted(origin.original.beside)
    return {f"original.{number}.data": place for number, place in enumerate(places, start=1)}


def _kept(origin: Origin) -> dict[str, bytes]:
    """Return the bytes of the original and of the files beside it, by their names in the folder."""
    original: Mapping[str, bytes] = origin.original.beside
    beside = {name: original[place] for name, place in _places_beside(origin).items()}
    return {ORIGINAL_FILE: origin.original.data, **beside}
