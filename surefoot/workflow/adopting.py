"""Adopting: a controller that others made becomes the policy folder of a run."""

from dataclasses import dataclass, replace
from pathlib import Path

from surefoot.artifact import Json, check_artifact_place, is_folder_of, read_artifact
from surefoot.config import to_table
from surefoot.errors import InputError
from surefoot.limits import MAX_FILE_BYTES, MAX_FILES
from surefoot.onnx_file import (
    OUTPUT,
    POLICY_FILE,
    Adopted,
    ControllerFile,
    Description,
    Original,
    policy_from_onnx,
    policy_to_onnx,
    save_policy,
)
from surefoot.onnx_file.leapp import LEAPP_KEY, leapp_text
from surefoot.output_path import check_artifact_folder, check_run_folder
from surefoot.ownership import hold_folder
from surefoot.policy import CategoricalHead, Policy
from surefoot.recordings import StatesFile
from surefoot.robot import ROBOT_FILE, Robot
from surefoot.run_folder import RunFolder
from surefoot.runtime.canonical import CanonicalDifference, check_canonical
from surefoot.runtime.controller_file import load_controller_file
from surefoot.visited import VISITED_FILE, Visited
from surefoot.workflow.listener import SILENCE, Listener
from surefoot.workflow.recorded_states import read_states
from surefoot.workflow.robot_file import read_robot
from surefoot.workflow.robot_metadata import completed, contradictions
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
        original: The bytes that were adopted.
        difference: Differences of the canonical file from the original.
        description: The robot, as the metadata of the file say it.
        notes: Remarks on how the original was read, a sentence each.
        warnings: Contradictions of the metadata with graph or robot, a sentence each.
        visited: States that the policy visits, as the folder has them; None for none.
    """

    run: RunFolder
    file: ControllerFile
    original: Original
    difference: CanonicalDifference
    description: Description
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    visited: Visited | None


def adopt_controller(
    source: Path,
    out: Path,
    *,
    output: str | None = None,
    discrete: bool = False,
    env_id: str | None = None,
    env_module: str | None = None,
    robot: Path | None = None,
    states: StatesFile | None = None,
    visited: Visited | None = None,
    visited_states: int | None = None,
    listener: Listener = SILENCE,
) -> AdoptedController:
    """Make the policy folder of a run from a controller that others made.

    The canonical file is compared with the original on ONNX Runtime. The original is kept beside
    it, byte for byte; its metadata go into the canonical file as they are.

    Args:
        source: An ``.onnx`` file, of others or of a converter.
        out: The run folder.
        output: Which output of the file are the actions, if it has several.
        discrete: Whether its outputs are logits, of which the largest is chosen.
        env_id: Gymnasium id of the environment that it controls, against which it is checked.
        env_module: Module or file that registers the environment.
        robot: Description of the robot, which is kept beside the controller.
        states: States of the user's own, instead of playing it.
        visited: Visited states as values, instead of playing it.
        visited_states: States to record in the environment; None for 384, 0 for none.
        listener: Is told what should be known of the file.

    Raises:
        InputError: If the source is no controller, or one that is not understood, does not fit the
            environment, the robot or the states; or ``out`` is not ours or holds another one.
        IntegrityError: If a file of the source is too large.
        CheckError: If ONNX Runtime computes something else than what was understood.
    """
    run = RunFolder(out)
    check_run_folder(out)
    check_artifact_folder(run.policy, (source, None if states is None else states.path))
    original = _described(_read(source, output, discrete=discrete), source)
    _refuse_other_policy(run, original.sha256)
    if states is not None:
        visited = read_states(states, original, listener)
    _check_visited(visited, original.policy)
    described = _fitting_robot(robot, original)
    description = Description.of(original.properties)
    notes = () if original.origin is None else original.origin.notes
    warnings = (
        description.contradictions(original.policy)
        if described is None
        else contradictions(original, described)
    )
    loud = [f"WARNING: {words}" for words in (*description.unread_words(), *warnings)]
    added = () if described is None else described.by_metadata
    for words in (*notes, *loud, *added, *description.left_to_do(original.policy)):
        listener.remark(words)
    file = _canonical_file(original, env_id, env_module)
    difference = check_canonical(original, file)
    if visited is None:
        visited = _played(run, file, env_module, visited_states)
    with hold_folder(run.path, "run"):
        _refuse_other_policy(run, original.sha256)  # put there while this one was read
        check_artifact_place(run.policy, "policy")
        adoption = _Adoption(source.name, original, difference, visited, described)
        _save(run.policy, file, adoption)
    return AdoptedController(
        run=run,
        file=file,
        original=original.original,
        difference=difference,
        description=description,
        notes=notes,
        warnings=warnings,
        visited=visited,
    )


def _read(source: Path, output: str | None, *, discrete: bool) -> ControllerFile:
    """Read a file that can be kept in a policy folder.

    Raises:
        InputError: If it is a folder, no controller that is understood, or has more than a policy
            folder can keep.
    """
    if source.is_dir():
        raise InputError(f"adopt takes an .onnx file, {source} is a folder")
    file = load_controller_file(source, output, discrete=discrete)
    original = file.original
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
    return file


def _described(file: ControllerFile, source: Path) -> ControllerFile:
    """Return a file with what LEAPP says about it among its metadata, where it says something."""
    text = leapp_text(source, file.original.data)
    return file if text is None else replace(file, properties={LEAPP_KEY: text, **file.properties})


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


def _fitting_robot(path: Path | None, original: ControllerFile) -> Robot | None:
    """Return the robot of a description, None for none.

    Raises:
        InputError: If it is none, or that of another controller.
    """
    if path is None:
        return None
    robot = read_robot(path)
    robot.check_fits(original.policy)
    return completed(robot, original)


def _canonical_file(
    original: ControllerFile, env_id: str | None, env_module: str | None
) -> ControllerFile:
    """Return the canonical file of a controller, with its environment if there is one.

    Raises:
        InputError: If the environment has other sensors or actuators, or a module has no
            environment.
    """
    if env_id is None and env_module is not None:
        raise InputError(f"env_module must be left out without env_id, got {env_module}")
    policy, about_env = original.policy, dict[str, Json]()
    if env_id is not None:
        policy, about_env = _in_environment(policy, env_id, env_module)
    adopted = original.adopted or Adopted(
        sha256=original.sha256, inputs=original.parts, output=OUTPUT
    )
    metadata = {**original.carried_metadata, "adopted": to_table(adopted), **about_env}
    return policy_from_onnx(policy_to_onnx(policy, metadata, original.properties))


def _in_environment(
    policy: Policy, env_id: str, env_module: str | None
) -> tuple[Policy, dict[str, Json]]:
    """Return a policy as an environment numbers its choices, and what a file says about that.

    Raises:
        InputError: If the policy does not fit the environment.
    """
    from surefoot.attack.closed_loop import check_fit
    from surefoot.envs import DiscreteActions, describe_env

    spec = describe_env(env_id, env_module)
    if isinstance(policy.head, CategoricalHead) and isinstance(spec.actions, DiscreteActions):
        policy = replace(policy, head=replace(policy.head, start=spec.actions.start))
    check_fit(policy, spec)
    return policy, {
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


@dataclass(frozen=True, slots=True)
class _Adoption:
    """What a policy folder keeps of an adoption.

    Attributes:
        name: Name of the file that was adopted.
        original: Its controller.
        difference: Differences of the canonical file from it.
        visited: States that the policy visits; None for none.
        robot: Description of the robot; None for none.
    """

    name: str
    original: ControllerFile
    difference: CanonicalDifference
    visited: Visited | None
    robot: Robot | None


def _save(folder: Path, file: ControllerFile, adoption: _Adoption) -> None:
    original = adoption.original.original
    places = sorted(original.beside)
    names = {f"original.{number}.data": place for number, place in enumerate(places, start=1)}
    extra = {ORIGINAL_FILE: original.data}
    extra |= {name: original.beside[place] for name, place in names.items()}
    if adoption.visited is not None:
        extra[VISITED_FILE] = adoption.visited.to_bytes()
    if adoption.robot is not None:
        extra[ROBOT_FILE] = adoption.robot.text.encode()
    origin = adoption.original.origin
    facts: dict[str, Json] = {
        "source": adoption.name,
        "sha256": original.sha256,
        "files": {ORIGINAL_FILE: adoption.name, **names},
        "agreement": None if origin is None else origin.agreement.to_table(),
        "canonical": adoption.difference.to_table(),
        "notes": [] if origin is None else list(origin.notes),
    }
    save_policy(
        folder,
        file.policy,
        metadata=file.carried_metadata,
        properties=file.properties,
        facts={"adopted": facts},
        inputs={POLICY_FILE: original.sha256},
        extra_files=extra,
    )
