"""Making the gate of a controller, and deriving it again from what a bundle holds."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from surefoot.bundle import Bundle
from surefoot.certificate import Certificate
from surefoot.certify.gate_thresholds import DataSheet, make_gate
from surefoot.errors import InputError, IntegrityError, VerificationError
from surefoot.gate import GATE_FILE, GateFile, GateRule
from surefoot.onnx_file import ControllerFile, Description
from surefoot.policy import Array, CategoricalHead
from surefoot.robot import Part, Robot
from surefoot.visited import VISITED_FILE, Visited
from surefoot.workflow.inspecting import sensor_names


def gate_of(
    file: ControllerFile, visited: Visited | None, rule: GateRule, robot: Robot | None
) -> GateFile:
    """Return the gate of a controller.

    Args:
        file: The canonical file.
        visited: What it visits; None where nothing is known.
        rule: How the limits are made.
        robot: Robot of the controller, whose ranges and rates no limit exceeds; None where none is
            described.

    Raises:
        InputError: If nothing gives a range, the states contradict the rule, or the robot is
            another controller's.
    """
    return make_gate(file.policy, visited, rule, data_sheet(file, robot))


def data_sheet(file: ControllerFile, robot: Robot | None) -> DataSheet:
    """Return what is known of sensors and actuators, from a controller's robot or else its file.

    Raises:
        InputError: If the robot is another controller's.
    """
    if robot is None:
        return DataSheet(names=_names(file))
    robot.check_fits(file.policy)
    low, high = _ends(robot.each_sensor)
    sheet = DataSheet(
        names=robot.sensor_labels,
        low=low,
        high=high,
        rate=_rates(robot.each_sensor, robot.control_period_s),
    )
    if isinstance(file.policy.head, CategoricalHead):  # its outputs are no commands
        return sheet
    least, largest = _ends(robot.each_actuator)
    return replace(
        sheet,
        least_action=least,
        largest_action=largest,
        action_rate=_rates(robot.each_actuator, robot.control_period_s),
    )


def _ends(parts: Sequence[Part]) -> tuple[Array, Array]:
    ends = np.array([part.range or (-np.inf, np.inf) for part in parts])
    return ends[:, 0], ends[:, 1]


def _rates(parts: Sequence[Part], period_s: float | None) -> Array:
    unknown = [np.inf if part.max_rate is None else part.max_rate for part in parts]
    return np.array(unknown) * (np.inf if period_s is None else period_s)


def gate_for(
    certificate: Certificate, file: ControllerFile, states: bytes | None, rule: GateRule | None
) -> GateFile | None:
    """Return the gate of a bundle: the one on which the certificate rests, made again, or another.

    Args:
        certificate: Certificate of the controller.
        file: The canonical file.
        states: Content of ``visited.npz``, None without one.
        rule: How the limits are made where the certificate has no gate; None for none.

    Raises:
        InputError: If the certificate rests on a gate by another rule, or the states contradict
            the rule.
        IntegrityError: If the states are not what they should be.
        VerificationError: If the gate of the certificate is not what its rule makes of the states.
    """
    own = certificate.gate
    if own is not None and rule not in (None, own.rule):
        raise InputError("gate must be left out: the certificate rests on a gate by another rule")
    if (rule := rule if own is None else own.rule) is None:
        return None
    visited = None if states is None else Visited.from_bytes(states)
    made = gate_of(file, visited, rule, certificate.robot)
    if own not in (None, made):
        raise VerificationError(
            "the certificate is not proved again: its gate is not what its rule makes of the "
            "recorded states"
        )
    return made


def check_gate(bundle: Bundle) -> None:
    """Derive the gate of a bundle again from the states that it holds, and compare every limit.

    Raises:
        IntegrityError: If it is another.
        InputError: If its rule makes no gate of these states.
    """
    if bundle.gate is None:
        return
    states = bundle.files.get(VISITED_FILE)
    visited = None if states is None else Visited.from_bytes(states)
    again = gate_of(bundle.controller, visited, bundle.gate.rule, bundle.certificate.robot)
    if again != bundle.gate:
        raise IntegrityError(f"{GATE_FILE} is not what its rule makes of the recorded states")


def _names(file: ControllerFile) -> tuple[str, ...]:
    """Return the name of each sensor; nothing where the file does not name all of them."""
    names = sensor_names(file.parts, Description.of(file.properties))
    known = tuple(name for name in names if name is not None)
    return known if len(known) == len(names) else ()
