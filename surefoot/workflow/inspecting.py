"""Inspecting: what a controller is, sensor by sensor and output by output, before any proof."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from surefoot.activation import Activation, Mixed, RmsNorm
from surefoot.artifact import is_folder_of
from surefoot.errors import InputError
from surefoot.onnx_file import ControllerFile, Description, InputPart, read_beside
from surefoot.policy import (
    Array,
    CategoricalHead,
    GaussianHead,
    Layer,
    Policy,
    Squash,
    weights_sha256,
)
from surefoot.robot import Part, Robot
from surefoot.run_folder import policy_folder
from surefoot.runtime.controller_file import load_controller_file
from surefoot.sensors import SensorScales
from surefoot.visited import VISITED_FILE, Visited
from surefoot.workflow.robot_file import robot_of

EPSILON = 0.05
"""Perturbation that is shown in the units of each sensor, normalised units."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectedSensor:
    """One number of the observation.

    Attributes:
        number: From 0.
        name: As the robot or else the file calls it; None if neither does.
        mean: Mean of the normaliser, raw units.
        scale: Raw units per normalised unit.
        clip: Largest magnitude of the state, normalised units; None without a clip.
        epsilon: What the normalised perturbation is on this sensor, raw units.
        flags: Why epsilon says little of it, or that nothing reads it; one word each.
        unit: Raw unit, as the description of the robot says; None without one.
    """

    number: int
    name: str | None
    mean: float
    scale: float
    clip: float | None
    epsilon: float
    flags: tuple[str, ...]
    unit: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One actuator, or one choice of a discrete controller.

    Attributes:
        number: From 0; of a choice the number that the environment takes.
        name: As the robot or else the file calls it; None if neither does.
        low: Least action, action units; None where nothing limits it.
        high: Largest action, action units; None where nothing limits it.
        scale: Factor of the squashed network output; None for a choice.
        squash: What limits the network output; None for a choice.
        unit: Unit of the action, as the description of the robot says; None without one.
    """

    number: int
    name: str | None
    low: float | None
    high: float | None
    scale: float | None
    squash: Squash | None
    unit: str | None = None


Entry = TypeVar("Entry", InspectedSensor, Output)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What a controller is.

    Attributes:
        path: Where it was read from.
        kind: What that is, in words.
        onnx_sha256: Digest of its file, and of those beside it.
        weights_sha256: Digest of what it computes.
        network: Its layers in words.
        epsilon: Perturbation that is shown in raw units, normalised units.
        sensors: One for each number of the observation.
        outputs: One for each output.
        env_id: Environment that the file names; None for none.
        visited_states: Independent states that lie with the controller.
        recorded_states: All states that lie with it.
        knows_noise: Whether the law of the sampled action is known.
        description: What its metadata say about the robot.
        understood: What should be known of how the file was read, a sentence each.
        unknown: What is not known, and what cannot be claimed without it, a sentence each.
    """

    path: Path
    kind: str
    onnx_sha256: str
    weights_sha256: str
    network: str
    epsilon: float
    sensors: tuple[InspectedSensor, ...]
    outputs: tuple[Output, ...]
    env_id: str | None
    visited_states: int
    recorded_states: int
    knows_noise: bool
    description: Description
    understood: tuple[str, ...]
    unknown: tuple[str, ...]


def inspect_controller(
    path: Path, *, output: str | None = None, discrete: bool = False, epsilon: float = EPSILON
) -> Inspection:
    """Describe a controller: its sensors, outputs and layers.

    Args:
        path: A run, a policy folder, a bundle or an ``.onnx`` file that anybody wrote.
        output: Output of a foreign file that holds the actions, if it has several outputs.
        discrete: Whether a foreign file's outputs are logits, of which the largest is chosen.
        epsilon: Perturbation to show in the unit of each sensor, normalised units.

    Raises:
        InputError: If the path holds no controller, or epsilon is not a positive number.
        IntegrityError: If a folder does not verify.
        CheckError: If ONNX Runtime computes something else than what was understood.
    """
    if not 0 < epsilon < np.inf:
        raise InputError(f"epsilon must be positive and finite, got {epsilon}")
    file = load_controller_file(path, output, discrete=discrete)
    return inspection_of(path, file, epsilon)


def inspection_of(path: Path, file: ControllerFile, epsilon: float) -> Inspection:
    """Describe a controller that is read already, see :func:`inspect_controller`.

    Args:
        path: Where it was read from.
        file: The controller.
        epsilon: Perturbation to show in the unit of each sensor, normalised units.
    """
    description = Description.of(file.properties)
    visited = _visited(path)
    num_states = 0 if visited is None else len(visited.independent)
    num_recorded = 0 if visited is None else len(visited.pool)
    knows_noise = isinstance(file.policy.head, CategoricalHead) or file.policy.head.std is not None
    sensors = _sensors_of(file, description, epsilon)
    outputs = _outputs_of(file.policy, description)
    if (robot := robot_of(path)) is not None:
        named = tuple(map(_named, sensors, robot.sensor_labels, robot.each_sensor))
        sensors = named + sensors[len(named) :]  # then what it remembers
        outputs = tuple(map(_named, outputs, robot.actuator_labels, robot.each_actuator))
    return Inspection(
        path=path,
        kind=_kind_of(path, file),
        onnx_sha256=file.sha256,
        weights_sha256=weights_sha256(file.policy),
        network=_network_of(file.policy),
        epsilon=epsilon,
        sensors=sensors,
        outputs=outputs,
        env_id=file.env_id,
        visited_states=num_states,
        recorded_states=num_recorded,
        knows_noise=knows_noise,
        description=description,
        understood=_understood(file, description, robot),
        unknown=_unknown(file, description, num_states, num_recorded, knows_noise=knows_noise),
    )


def _named(entry: Entry, label: str, part: Part) -> Entry:
    """Return a sensor or an output with the name and unit that a robot gives it."""
    return replace(entry, name=label, unit=part.unit)


def _kind_of(path: Path, file: ControllerFile) -> str:
    if path.is_file():
        return "a file of surefoot" if file.origin is None else "a file of others"
    if is_folder_of(path, "bundle"):
        return "a bundle"
    return "a policy folder" if policy_folder(path) == path else "a run"


def _visited(path: Path) -> Visited | None:
    """Read the states that lie with a controller; None for none."""
    artifact = None if path.is_file() else read_beside(path)
    data = None if artifact is None else artifact.files.get(VISITED_FILE)
    return None if data is None else Visited.from_bytes(data)


def _network_of(policy: Policy) -> str:
    """Return the sizes of the layers and their activations in words."""
    names = dict.fromkeys(name for layer in policy.layers[:-1] for name in _functions_of(layer))
    return f"{'-'.join(map(str, _sizes_of(policy)))}, {', '.join(names) or 'affine'}"


def _sizes_of(policy: Policy) -> list[int]:
    """Return the sizes of the layers; a normalisation and its gain are none of their own."""
    sizes, is_behind_norm = [policy.obs_dim], False
    for layer in policy.layers:
        is_norm = isinstance(layer.activation, RmsNorm)
        is_step = is_norm and (_is_diagonal(layer.weight) or _is_centring(layer.weight))
        is_gain = is_behind_norm and _is_diagonal(layer.weight)
        if not (is_step or is_gain):
            sizes.append(len(layer.bias))
        is_behind_norm = is_norm
    return sizes


def _is_diagonal(weight: Array) -> bool:
    is_square = weight.shape[0] == weight.shape[1]
    return is_square and np.array_equal(weight, np.diag(np.diag(weight)))


def _is_centring(weight: Array) -> bool:
    """Return True if a layer subtracts the mean of its inputs."""
    count = len(weight)
    return weight.shape == (count, count) and np.allclose(weight, np.eye(count) - 1 / count)


def _functions_of(layer: Layer) -> Iterator[str]:
    """Yield the functions that a layer applies, in words; none for the identity."""
    used = layer.activation
    places = used.places() if isinstance(used, Mixed) else [(used, slice(None))]
    for function, rows in places:
        if isinstance(function, RmsNorm):
            # RmsNorm is LayerNorm where the mean of what it is given is zero.
            sums = [*layer.weight[rows].sum(axis=0), layer.bias[rows].sum()]
            name = "LayerNorm" if np.allclose(sums, 0, atol=1e-5) else "RMSNorm"
            yield f"{name} (epsilon {function.epsilon:.6g})"
        elif function is not Activation.IDENTITY:
            yield function.value


# --- rows


def _sensors_of(
    file: ControllerFile, description: Description, epsilon: float
) -> tuple[InspectedSensor, ...]:
    normaliser = file.policy.normaliser
    scales = SensorScales.of(normaliser)
    read = (file.policy.layers[0].weight != 0).any(axis=0)
    flagged = {
        "constant": set(scales.degenerate),
        "unresolved": set(scales.unresolved(epsilon)),
        "unread": set(np.flatnonzero(~read).tolist()),
    }
    names = sensor_names(file.parts, description)
    return tuple(
        InspectedSensor(
            number=number,
            name=names[number],
            mean=float(normaliser.mean[number]) + 0.0,  # minus zero is zero
            scale=float(scale),
            clip=float(normaliser.clip) if np.isfinite(normaliser.clip) else None,
            epsilon=epsilon * float(scale),
            flags=tuple(word for word, sensors in flagged.items() if number in sensors),
        )
        for number, scale in enumerate(scales.scale)
    )


def sensor_names(parts: Sequence[InputPart], description: Description) -> tuple[str | None, ...]:
    """Return the name of each sensor, None where the file does not say it.

    Args:
        parts: Sensors one behind the other.
        description: What the metadata say.
    """
    listed = description.observation_names
    if len(listed) == sum(part.size for part in parts):
        return listed
    names: list[str | None] = []
    for part in parts:
        entries = description.entries_of(part.name)
        if len(entries) == part.size:
            names += [f"{part.name}.{entry}" for entry in entries]
        elif len(parts) > 1:
            names += [f"{part.name}[{number}]" for number in range(part.size)]
        else:
            names += [None] * part.size
    return tuple(names)


def _outputs_of(policy: Policy, description: Description) -> tuple[Output, ...]:
    head = policy.head
    joints = description.joint_names
    names = joints if len(joints) == policy.num_outputs else [None] * policy.num_outputs
    if isinstance(head, CategoricalHead):
        return tuple(
            Output(
                number=head.start + place, name=None, low=None, high=None, scale=None, squash=None
            )
            for place in range(head.num_actions)
        )
    return tuple(_actuator(head, number, name) for number, name in enumerate(names))


def _actuator(head: GaussianHead, number: int, name: str | None) -> Output:
    centre, radius = float(head.centre[number]), float(head.half_range[number])
    is_limited = head.squash is not Squash.IDENTITY
    return Output(
        number=number,
        name=name,
        low=centre - radius if is_limited else None,
        high=centre + radius if is_limited else None,
        scale=radius,
        squash=head.squash,
    )


# --- what was understood, and what is not known


def _understood(
    file: ControllerFile, description: Description, robot: Robot | None
) -> tuple[str, ...]:
    notes = () if file.origin is None else file.origin.notes
    found = description.contradictions(file.policy)
    found += () if robot is None else description.other_words(robot)
    warnings = [f"WARNING: {words}" for words in found]
    added = () if robot is None else robot.by_metadata
    return (*notes, *warnings, *added, *description.left_to_do(file.policy))


def _unknown(
    file: ControllerFile,
    description: Description,
    num_states: int,
    num_recorded: int,
    *,
    knows_noise: bool,
) -> tuple[str, ...]:
    found = list(description.unread_words())
    if file.policy.is_elementwise and not np.isfinite(file.policy.normaliser.clip):
        found.append(
            "no clip limits the state: deviations need state_limit under [assume] in a --config"
        )
    if file.policy.no_slopes:
        found.append(file.policy.no_slopes)
    if not num_recorded:
        found.append(
            "no states: requirements about visited or recorded ones stay UNKNOWN without --states"
        )
    elif not num_states:
        found.append('no independent states: requirements with scope = "visited" stay UNKNOWN')
    if not knows_noise:
        found.append("no noise: total variation, KL and return loss stay UNKNOWN")
    if file.env_id is None:
        found.append("no environment: it cannot be attacked in closed loop")
    return tuple(found)
