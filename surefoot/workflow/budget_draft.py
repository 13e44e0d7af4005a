"""A budget to start from, from the data sheet of a robot: each number says where it is from."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from surefoot.artifact import write_file
from surefoot.budget import Budget, Scope
from surefoot.certificate import proved_text
from surefoot.certify.exploration import CONFIDENCE, FRACTION
from surefoot.errors import InputError
from surefoot.faint_sensors import faint_sensors
from surefoot.misreading import Misreading
from surefoot.onnx_file import read_beside
from surefoot.output_path import check_new_file
from surefoot.policy import CategoricalHead, Policy
from surefoot.raw_units import radii_of
from surefoot.robot import ROBOT_FILE, UNSPOKEN, Actuator, Part, Robot, Sensor
from surefoot.runtime.controller_file import load_controller_file
from surefoot.visited import VISITED_FILE, Visited
from surefoot.workflow.listener import SILENCE, Listener
from surefoot.workflow.robot_file import robot_of
from surefoot.workflow.robot_metadata import completed, contradictions

_SHARE_OF_RANGE = 0.1
"""Limit of an actuator whose rate is not known, as a share of its range."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetDraft:
    """A budget to start from.

    Attributes:
        path: Where it lies.
        budget: The budget.
        warnings: Contradictions of the file with the robot, and sensors of which the budget says
            little, a line each.
    """

    path: Path
    budget: Budget
    warnings: tuple[str, ...]


def init_budget(
    controller: Path, out: Path, *, robot: Path | None = None, listener: Listener = SILENCE
) -> BudgetDraft:
    """Write a budget from the description of a robot.

    Args:
        controller: A run, policy folder, bundle or ``.onnx`` file.
        out: The budget, a TOML file that is not there yet.
        robot: Description of the robot, instead of that of the controller's folder.
        listener: Is told of the same warnings.

    Raises:
        InputError: If ``out`` is there, no robot is described, it is another one's, or its data
            sheet has nothing that a budget could say.
        IntegrityError: If the folder of the controller does not verify.
    """
    check_new_file(out)
    described = robot_of(controller, robot)
    if described is None:
        raise InputError(
            f"{controller} holds no description of its robot: give --robot, which pipeline robot "
            "starts"
        )
    file = load_controller_file(controller)
    policy = file.policy
    described.check_fits(policy)
    described = completed(described, file)
    if isinstance(policy.head, CategoricalHead):
        raise InputError("budget init is for actuators; of a choice, require choice_lead")
    text = "\n".join(_lines(described, policy, _scope_of(controller), controller.name)) + "\n"
    budget = Budget.parse(text, str(out))
    write_file(out, text.encode())
    warnings = contradictions(file, described)
    warnings += faint_sensors(_sizes(described), described, policy.normaliser)
    for words in (*described.by_metadata, *(f"WARNING: {words}" for words in warnings)):
        listener.remark(words)
    return BudgetDraft(path=out, budget=budget, warnings=warnings)


def _scope_of(controller: Path) -> Scope:
    """Return where a budget can be held: at visited states where they are known."""
    folder = read_beside(controller)
    data = None if folder is None else folder.files.get(VISITED_FILE)
    if data is None:
        return Scope.EVERYWHERE
    return Scope.VISITED if len(Visited.from_bytes(data).independent) else Scope.RECORDED


def _lines(robot: Robot, policy: Policy, scope: Scope, name: str) -> Iterator[str]:
    yield f"# A budget from the data sheet of the robot, for {name!a}."
    yield "# Each number says where it is from. Change those that you know better."
    yield ""
    yield "[[require]]"
    yield 'quantity = "action_deviation"'
    yield f'scope = "{scope}"'
    if scope is Scope.VISITED:
        yield f"fraction = {FRACTION}  # of the states that the policy visits"
        yield f"confidence = {CONFIDENCE}"
    yield ""
    yield "[require.perturb]  # largest error of each reading, either way"
    yield from _perturbed(robot, policy)
    yield ""
    yield "[require.at_most]  # largest move of each actuator that such an error may cause"
    yield from _limited(robot)
    yield ""
    yield "# What is measured is asked for in the same way: clean_return and attacked_return (with"
    yield "# --attack), latency_us (with --bench)."


def _sizes(robot: Robot) -> dict[str, Misreading]:
    """Return the errors of the sensors of which something is known, by name."""
    return {
        sensor.name: Misreading(linf=_size(sensor)[0], bias=sensor.bias)
        for sensor in robot.sensors
        if _size(sensor)[0] is not None or sensor.bias is not None
    }


def _size(sensor: Sensor) -> tuple[float | None, str]:
    """Return the largest error of a reading beside its bias, and where both are from."""
    size, source = sensor.noise, "its noise"
    if size is None and sensor.resolution is not None:
        size, source = sensor.resolution, "its resolution"
    if sensor.bias is None:
        return size, source
    return size, "its bias" if size is None else f"{source} and its bias"


def _perturbed(robot: Robot, policy: Policy) -> Iterator[str]:
    """Yield the error of each sensor, or that nothing is known of it.

    Raises:
        InputError: If nothing is known of any.
    """
    sizes = _sizes(robot)
    if not sizes:
        raise InputError(f"{ROBOT_FILE}: a budget needs a sensor with a noise or a resolution")
    is_clipped = math.isfinite(policy.normaliser.clip)
    radii = radii_of(sizes, robot, policy.normaliser) if is_clipped else {}
    if not is_clipped:
        yield "# Nothing clips the states of this controller: certify it with a --config file that"
        yield "# says how large they get, state_limit = ... under [assume]."
    for sensor in robot.sensors:
        size, source = _size(sensor)
        if sensor.name not in sizes:
            yield f"# {sensor.name}: neither noise nor resolution is known: taken as exact"
            continue
        counted = _counted(radii[sensor.name]) if is_clipped else ""
        yield f"{sensor.name} = {_written(sensor, size)}  # {_unit(sensor)}{source}{counted}"


def _written(sensor: Sensor, size: float | None) -> str:
    """Return the errors of a sensor as TOML."""
    if sensor.bias is None:
        return repr(size)
    kinds = [] if size is None else [f"linf = {size!r}"]
    return f"{{ {', '.join([*kinds, f'bias = {sensor.bias!r}'])} }}"


def _counted(radii: tuple[float, float]) -> str:
    """Return the least and largest radius of a sensor's entries."""
    least, most = map(proved_text, radii)
    return f"; {most if least == most else f'{least} to {most}'} normalised"


def _limited(robot: Robot) -> Iterator[str]:
    """Yield the limit of each actuator, or that nothing is known of it.

    Raises:
        InputError: If nothing is known of any.
    """
    limits = {actuator: _limit(actuator, robot.control_period_s) for actuator in robot.actuators}
    if not any(limits.values()):
        raise InputError(f"{ROBOT_FILE}: a budget needs an actuator with a range or a max_rate")
    for actuator, limit in limits.items():
        if limit is None:
            yield f"# {actuator.name}: neither range nor max_rate is known: not limited"
        else:
            value, source = limit
            yield f"{actuator.name} = {value:.4g}  # {_unit(actuator)}{source}"


def _unit(part: Part) -> str:
    return "" if part.unit in UNSPOKEN else f"{part.unit}, "


def _limit(actuator: Actuator, period_s: float | None) -> tuple[float, str] | None:
    """Return a limit of an actuator, and where it is from: what it follows in one period."""
    if actuator.max_rate is not None and period_s is not None:
        rate = f"{actuator.max_rate:g} {actuator.unit}/s"
        return actuator.max_rate * period_s, f"its max_rate of {rate} over {period_s:g} s"
    if actuator.range is not None:
        low, high = actuator.range
        return _SHARE_OF_RANGE * (high - low), f"{_SHARE_OF_RANGE:.0%} of its range"
    return None
