"""What a deployment requires: the budget, a TOML file of ``[[require]]`` tables and a ``[gate]``.

What a table may say stands in ``surefoot.requirement``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from surefoot.artifact import sha256_hex
from surefoot.config import build, parse_toml
from surefoot.errors import InputError, did_you_mean
from surefoot.gate.rule import GateRule
from surefoot.limits import MAX_BUDGET_BYTES
from surefoot.policy import Policy
from surefoot.quantities import QUANTITIES as QUANTITIES
from surefoot.quantities.base.quantity import Topic
from surefoot.quantities.base.scope import Scope as Scope
from surefoot.requirement import Requirement as Requirement
from surefoot.requirement import percent as percent
from surefoot.robot import Robot

_TABLES = ("require", "gate")


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """The requirements of a deployment.

    Attributes:
        requirements: The requirements, at least one.
        text: The TOML file, kept byte for byte in bundles.
        gate: How the limits are made to which the controller is held at run time; None for a
            controller without a gate.
    """

    requirements: tuple[Requirement, ...]
    text: str
    gate: GateRule | None = None

    def __post_init__(self) -> None:
        """Check that what is required behind a gate has one.

        Raises:
            InputError: If it has none.
        """
        for number, requirement in enumerate(self.requirements):
            if requirement.rests_on_gate and self.gate is None:
                field = "scope" if requirement.scope is Scope.GATE else "region"
                raise InputError(f"require[{number}].{field} is 'gate', which needs a [gate] table")

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return sha256_hex(self.text.encode())

    @property
    def silent_about(self) -> tuple[Topic, ...]:
        """What no requirement speaks of: whatever is the case there, the verdict is the same."""
        spoken = {requirement.about.topic for requirement in self.requirements}
        return tuple(topic for topic in Topic if topic not in spoken)

    @property
    def error_shares(self) -> tuple[float, ...]:
        """Chance of error of each requirement, 0 for those that hold always.

        The chance that a confidence leaves is split evenly over all statistical requirements, so
        that all of them hold at once.
        """
        confidences = [requirement.confidence for requirement in self.requirements]
        count = sum(confidence is not None for confidence in confidences)
        return tuple(
            0.0 if confidence is None else (1 - confidence) / count for confidence in confidences
        )

    @classmethod
    def parse(cls, text: str, what: str = "budget", folder: Path | None = None) -> "Budget":
        """Read a budget from TOML.

        Args:
            text: The file.
            what: How error messages call it.
            folder: Folder of the files that it names; None to leave these unread.

        Raises:
            InputError: If it is not TOML, has other tables than ``[[require]]`` and ``[gate]``, is
                empty, or names a file that is no VNN-LIB file.
            IntegrityError: If such a file is too long.
        """
        tables = parse_toml(text, what, max_bytes=MAX_BUDGET_BYTES)
        for key in tables:
            if key not in _TABLES:
                raise InputError(f"{what}: unknown key {key!r}{did_you_mean(key, _TABLES)}")
        entries = tables.get("require")
        if not isinstance(entries, list) or not entries:
            raise InputError(f"{what} must hold at least one [[require]] table")
        requirements = tuple(
            Requirement.from_table(each, f"{what}: require[{number}]")
            for number, entry in enumerate(entries)
            for each in _one_by_one(entry)
        )
        for number, requirement in enumerate(requirements):
            if requirement.on_robot is not None:
                raise InputError(f"{what}: unknown key 'require[{number}].on_robot'")
        gate = build(GateRule, tables["gate"], f"{what}: gate") if "gate" in tables else None
        if folder is not None:
            requirements = tuple(requirement.beside(folder) for requirement in requirements)
        return cls(requirements=requirements, text=text, gate=gate)

    def on(
        self,
        robot: Robot | None,
        policy: Policy,
        state_limit: float | None,
        gate_limit: float | None = None,
    ) -> "Budget":
        """Return the budget in the units of a controller.

        Args:
            robot: Robot whose words it uses; None where none is described.
            policy: Policy of the controller.
            state_limit: Largest state that is assumed, normalised units; None for no assumption.
            gate_limit: Largest state that the gate lets through, which is enforced and not assumed,
                for what is required behind it; None without a gate.

        Raises:
            InputError: If it uses words of a robot that mean nothing on this one, or none is given,
                or the robot is not that of the controller.
        """
        for requirement in self.requirements:
            requirement.check_fits(policy)
        if robot is None:
            self._require_no_robot()
            return self
        robot.check_fits(policy)
        held = tuple(
            need.on(robot, policy, gate_limit if need.scope is Scope.GATE else state_limit)
            for need in self.requirements
        )
        return replace(self, requirements=held)

    def check_words(self, robot: Robot | None) -> None:
        """Check that its words mean something on a robot, before there is a controller.

        Raises:
            InputError: If one does not, or no robot is described.
        """
        if robot is None:
            self._require_no_robot()
            return
        for requirement in self.requirements:
            requirement.check_words(robot)

    def _require_no_robot(self) -> None:
        for number, requirement in enumerate(self.requirements):
            if requirement.names_robot:
                raise InputError(
                    f"require[{number}] is in words of a robot, which is not described: "
                    "give --robot robot.toml, or train.robot where it is trained"
                )

    def answered(self, requirements: Iterable[Requirement]) -> "Budget":
        """Return the budget with its requirements as they were answered, on some robot.

        Raises:
            InputError: If they are others.
        """
        held = tuple(requirements)
        written = tuple(need.as_written for need in held)
        if len(held) != len(self.requirements) or written != self.specified_by(held).requirements:
            raise InputError("findings must answer the requirements of the budget, one each")
        return replace(self, requirements=held)

    def specified_by(self, answered: Sequence[Requirement]) -> "Budget":
        """Return the budget with the VNN-LIB files of requirements that were answered."""
        held = tuple(
            need.specified_by(other)
            for need, other in zip(self.requirements, answered, strict=True)
        )
        return replace(self, requirements=held)


def _one_by_one(entry: Any) -> list[Any]:  # noqa: ANN401
    """Return a ``[[require]]`` table for each actuator that it limits by name."""
    limits = entry.get("at_most") if isinstance(entry, Mapping) else None
    if not isinstance(limits, Mapping) or not limits or "actuator" in entry:
        return [entry]
    return [entry | {"actuator": name, "at_most": most} for name, most in limits.items()]
