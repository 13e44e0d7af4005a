"""One line of a budget: what must hold, of what, where, and under which perturbation.

A requirement names a quantity, the perturbation it is about (size, norm, scope) and a limit. What
each quantity is and which fields it needs stands in ``surefoot.quantities``. A requirement in words
of a robot is complete once it is held against that robot and a controller, by `Requirement.on`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from surefoot.artifact import sha256_hex
from surefoot.ball import Ball, Norm
from surefoot.config import DERIVED, build, to_table
from surefoot.errors import InputError, did_you_mean
from surefoot.limits import MAX_SPECIFICATION_BYTES
from surefoot.misreading import (
    Misreading,
    check_perturbation,
    in_full,
    readings_of,
    with_unit,
    words_of,
)
from surefoot.named_question import (
    NamedRegion,
    QuestionOnRobot,
    check_condition,
    check_question,
    in_words,
    names_robot,
)
from surefoot.policy import Normaliser, Policy
from surefoot.quantities import QUANTITIES as QUANTITIES
from surefoot.quantities.base.quantity import ACTION_UNITS, AnyQuantity
from surefoot.quantities.base.scope import Scope as Scope
from surefoot.question import Box, Condition, GatedReadings, Question, Where
from surefoot.raw_units import OnRobot, ball_of, check_on_robot, outputs_unit
from surefoot.robot import PURE, Robot
from surefoot.vnnlib import Specification, parsed_vnnlib, vnnlib_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """One line of a budget.

    Attributes:
        quantity: A key of ``QUANTITIES``.
        epsilon: Size of the perturbation, normalised units.
        norm: Norm of the perturbation (and of ``lipschitz``).
        sensors: Share of epsilon by which each sensor may move in a linf perturbation, in
            [0, 1]; without it every sensor may move by all of it.
        perturb: Errors of the readings by sensor or group of the robot, in their own units,
            instead of epsilon: the largest error of each reading, or ``{ l2 = ... }`` for the
            length of all errors of a group together, ``{ bias = ... }`` for errors that stay the
            same and ``{ delay = ... }`` for readings that are so many steps late; ``noise``,
            ``bias`` or ``noise+bias`` for what its description says. Other sensors do not err.
        actuator: Actuator or group of the robot that is limited; without it all are.
        scope: Everywhere, at a share of the states that the policy visits, at every recorded one,
            or in every state that the gate lets through.
        fraction: Share of the visited states at which a ``visited`` requirement must hold.
        confidence: Confidence of a statistical claim, proved or measured; some quantities may do
            without, and are then no statistical claims.
        region: Where a condition must hold: a box of ``raw`` or ``normalised`` units with the ends
            ``low`` and ``high``, a box of ``readings`` or ``states`` with the ends of its
            ``sensors`` by the names of a robot, ``recorded`` for every recorded state, or ``gate``
            for every observation that the gate lets through.
        all_of: Linear inequalities on the actions of which each must hold, such as
            ``action[0] - 2 * action[1] <= 0.5``; action[k] is output k, of a discrete controller
            its logit. In a region of readings they may speak of these, too: sensor[k], raw units.
            On a described robot k may be a name, and the limit may have its unit:
            ``action[hip] <= 0.3 N m``.
        any_of: Linear inequalities of which one must hold.
        vnnlib: VNN-LIB file that says what must not occur, instead of region and inequalities; its
            path is relative to the budget.
        specification: Content of that file: read with the budget, and kept in its certificate.
        at_most: Upper limit, in the unit of the quantity; in a file also a table of limits by
            actuator or group, which stands for one requirement each.
        at_least: Lower limit, in the unit of the quantity.
        on_robot: What the words mean on a robot, once it is held against one: then a perturbation
            in raw units has its epsilon, norm and sensors as well.
    """

    quantity: str
    epsilon: float | None = None
    norm: Norm | None = None
    sensors: tuple[float, ...] | None = None
    perturb: Mapping[str, float | str | Misreading] | str | None = None
    actuator: str | None = None
    scope: Scope | None = None
    fraction: float | None = None
    confidence: float | None = None
    region: Where | NamedRegion | None = None
    all_of: tuple[str, ...] | None = None
    any_of: tuple[str, ...] | None = None
    vnnlib: str | None = None
    specification: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    on_robot: OnRobot | None = field(default=None, metadata=DERIVED)

    def __post_init__(self) -> None:
        """Check that the fields are those that the quantity needs, and in range.

        Raises:
            InputError: If one is missing, out of place or out of range.
        """
        if self.quantity not in QUANTITIES:
            raise InputError(
                f"unknown quantity {self.quantity!r}{did_you_mean(self.quantity, QUANTITIES)}"
            )
        self._check_fields()
        if self.perturb is not None:
            check_perturbation(self.perturb)
        _ = self.ball  # refuses an epsilon or shares that are none
        if self.specification is not None or (self.region is not None and not self._asks_by_name):
            _ = self.questions  # refuses inequalities that are none
        if self.region is not None:
            check_condition(self.all_of or (), self.any_of or ())
        for name in ("fraction", "confidence"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise InputError(f"{name} must be in (0, 1), got {value}")
        self.about.check_limit(self.limit)

    def _check_fields(self) -> None:
        """Check that the fields are those that the quantity needs.

        Raises:
            InputError: If one is missing or out of place.
        """
        takes_shares = "sensors" in self.about.takes or self.perturb is not None
        shares_fit = takes_shares and self.norm is Norm.LINF
        if self.sensors is not None and not shares_fit:
            raise InputError(f"sensors are for linf perturbations, not for {self.quantity}")
        needs, takes = self.about.needs, {*self.about.takes, "on_robot"}
        if self.about.fixed_limit is None:
            needs |= {"at_most" if self.about.at_most else "at_least"}
        if self.scope is Scope.VISITED:
            needs |= {"fraction", "confidence"}
        if self.perturb is not None:
            raw = {"epsilon", "norm", "sensors"}
            needs, takes = needs - raw, takes | (raw if self.on_robot else set())
        given = {entry.name for entry in fields(self) if getattr(self, entry.name) is not None}
        if given & {"epsilon", "norm"} and self.about.takes >= {"epsilon", "norm"}:
            needs |= {"epsilon", "norm"}  # a perturbation that is optional is optional as a whole
        if self.vnnlib is not None:
            needs, takes = needs - {"region"}, {"vnnlib", "specification", "on_robot"}
        for name in (entry.name for entry in fields(self)):
            if name in needs - given:
                raise InputError(f"quantity {self.quantity!r} needs the field {name!r}")
            if name in given - needs - takes - {"quantity"}:
                raise InputError(f"quantity {self.quantity!r} takes no field {name!r} here")

    @property
    def about(self) -> AnyQuantity:
        """The quantity itself."""
        return QUANTITIES[self.quantity]

    @property
    def ball(self) -> Ball | None:
        """The perturbation set, or None for a quantity that has none."""
        if self.epsilon is None or self.norm is None:
            return None
        meant = self.on_robot or OnRobot(readings={})
        return Ball(
            norm=self.norm,
            epsilon=self.epsilon,
            sensors=self.sensors,
            groups=meant.groups,
            delays=meant.delays,
            biases=meant.biases,
        )

    @property
    def perturbation(self) -> Ball:
        """The perturbation set of a requirement that has one.

        Raises:
            InputError: If it has none.
        """
        if self.ball is None:
            raise InputError(f"quantity {self.quantity!r} is about no perturbation here")
        return self.ball

    @property
    def questions(self) -> tuple[Question, ...]:
        """The questions of a requirement that asks some; it holds if the answer is always yes.

        Raises:
            InputError: If it asks none, an inequality is none or in words of a robot that it is not
                held against, or its VNN-LIB file was not read.
        """
        if self.vnnlib is not None:
            return self._specified.questions
        if self.region is None:
            raise InputError(f"quantity {self.quantity!r} asks no question")
        if self.on_robot is not None and self.on_robot.question is not None:
            return (self.on_robot.question.question,)
        if isinstance(self.region, NamedRegion):
            raise InputError("a region by the names of a robot must be held against one")
        condition = Condition.parse(self.all_of or (), self.any_of or ())
        return (Question(where=self.region, condition=condition),)

    @property
    def _specified(self) -> Specification:
        if self.specification is None:
            raise InputError(f"vnnlib = {self.vnnlib!r} must be read beside its budget")
        return parsed_vnnlib(self.specification, self.vnnlib or "")

    def beside(self, folder: Path) -> "Requirement":
        """Return the requirement with the content of the VNN-LIB file that it names.

        Args:
            folder: Folder of the budget.

        Raises:
            InputError: If the file cannot be read.
            IntegrityError: If it is too long.
        """
        if self.vnnlib is None or self.specification is not None:
            return self
        text = vnnlib_text(folder / self.vnnlib, max_bytes=MAX_SPECIFICATION_BYTES)
        return replace(self, specification=text)

    def specified_by(self, answered: "Requirement") -> "Requirement":
        """Return the requirement with the VNN-LIB file of its certificate, unless it has one."""
        return replace(self, specification=self.specification or answered.specification)

    @property
    def limit(self) -> float:
        """The limit, whichever side it is on."""
        if self.about.fixed_limit is not None:
            return self.about.fixed_limit
        limit = self.at_most if self.at_most is not None else self.at_least
        return math.nan if limit is None else limit

    def holds(self, value: float) -> bool:
        """Whether ``value`` is on the right side of the limit; NaN never is."""
        return value <= self.limit if self.about.at_most else value >= self.limit

    def describe(self) -> str:
        """Return the requirement as one line of plain words."""
        words = [self.quantity if self.actuator is None else f"{self.quantity} of {self.actuator}"]
        if self.perturb is not None:
            words.append(f"under {self._readings()}")
        elif self.epsilon is not None:
            words.append(f"under {self.norm} {in_full(self.epsilon)}")
        elif self.norm is not None:
            words.append(f"in {self.norm}")
        if self.sensors is not None and self.perturb is None:
            words.append(f"times ({', '.join(map(in_full, self.sensors))})")
        if self.scope is Scope.EVERYWHERE:
            words.append("everywhere")
        if self.scope is Scope.GATE:
            words.append("behind the gate")
        if self.scope is Scope.VISITED:
            words.append(f"at {percent(self.fraction)} of visited states")
        if self.scope is Scope.RECORDED:
            words.append("at every recorded state")
        if self.asks:
            words.append(self.asked)
        if self.about.fixed_limit is None:
            side = "at most" if self.about.at_most else "at least"
            words.append(f"{side} {with_unit(self.limit, self._unit)}")
        if self.confidence is not None:
            words.append(f"with confidence {percent(self.confidence)}")
        return " ".join(words)

    @property
    def asked(self) -> str:
        """What it asks, in words."""
        if self.vnnlib is None:
            return self._asked_by_name or self.questions[0].describe()
        digest = "" if self.specification is None else sha256_hex(self.specification.encode())[:12]
        held = f" (SHA-256 {digest}...)" if digest else ""
        return f"that nothing occurs that {self.vnnlib}{held} describes"

    @property
    def _asked_by_name(self) -> str:
        """The question in the names of a robot; empty where it is in numbers."""
        if self.on_robot is not None and self.on_robot.question is not None:
            return self.on_robot.question.words
        if self.region is None or not self._asks_by_name:
            return ""
        return in_words(self.region, self.all_of or (), self.any_of or ())

    @property
    def _asks_by_name(self) -> bool:
        """Whether it asks a question in words of a robot."""
        return self.region is not None and names_robot(
            self.region, self.all_of or (), self.any_of or ()
        )

    def _readings(self) -> str:
        """Return the error of the readings in raw units, with these once a robot is known."""
        if self.on_robot is not None:
            return ", ".join(f"{name} {size}" for name, size in self.on_robot.readings.items())
        return "" if self.perturb is None else words_of(self.perturb)

    @property
    def _unit(self) -> str:
        """Unit of the limit where a robot gives one, else that of a pure number."""
        return PURE if self.on_robot is None else self.on_robot.unit or PURE

    @property
    def asks(self) -> bool:
        """Whether it asks a question."""
        return self.region is not None or self.vnnlib is not None

    @property
    def asks_of_box(self) -> bool:
        """Whether it asks about a box of inputs, which a proof may cut."""
        return self.vnnlib is not None or isinstance(self.region, Box | NamedRegion | GatedReadings)

    @property
    def rests_on_gate(self) -> bool:
        """Whether it is about what the gate of the controller lets through."""
        return self.scope is Scope.GATE or isinstance(self.region, GatedReadings)

    @property
    def outputs(self) -> tuple[int, ...] | None:
        """Numbers of the outputs that are limited, None for all."""
        return None if self.on_robot is None else self.on_robot.outputs

    @property
    def names_robot(self) -> bool:
        """Whether it is in words of a robot."""
        return self.perturb is not None or self.actuator is not None or self._asks_by_name

    @property
    def as_written(self) -> "Requirement":
        """The requirement as its budget has it, before it is held against a robot."""
        if self.on_robot is None:
            return self
        if self.perturb is None:
            return replace(self, on_robot=None)
        return replace(self, on_robot=None, epsilon=None, norm=None, sensors=None)

    def check_words(self, robot: Robot) -> None:
        """Check that its words mean something on a robot, before there is a controller.

        Raises:
            InputError: If one does not.
        """
        if self.actuator is not None:
            robot.actuators_called(self.actuator)
        if self.perturb is not None:
            readings_of(self.perturb, robot)
            check_on_robot(self.perturb, robot, by_rate=self._by_rate)
        if self.region is not None:
            check_question(self.region, self.all_of or (), self.any_of or (), robot)

    @property
    def _by_rate(self) -> bool:
        """Whether a delay counts by the rates of the sensors: where no readings are recorded."""
        return self.about.proved and self.scope not in (Scope.VISITED, Scope.RECORDED)

    def check_fits(self, policy: Policy) -> None:
        """Check that its VNN-LIB file, if it has one, is about a controller of this size.

        Raises:
            InputError: If it is not.
        """
        if self.vnnlib is not None:
            self._specified.check_fits(self.vnnlib, policy.obs_dim, policy.num_outputs)

    def on(self, robot: Robot, policy: Policy, state_limit: float | None) -> "Requirement":
        """Return the requirement in the units of a controller.

        Args:
            robot: Robot whose words it uses.
            policy: Policy of the controller.
            state_limit: Largest state that is assumed, or that a gate enforces, normalised units;
                None for neither.

        Raises:
            InputError: If a word means nothing on this robot, or nothing bounds a state.
        """
        outputs = None if self.actuator is None else robot.actuators_called(self.actuator)
        by_rate, perturb = self._by_rate, self.perturb
        readings = {} if perturb is None else readings_of(perturb, robot, by_rate=by_rate)
        question = self._question_on(robot, policy.normaliser)
        unit = outputs_unit(robot, outputs) if self.about.unit == ACTION_UNITS else ""
        if question is not None:
            unit = question.unit
        elif not readings and outputs is None and not unit:
            return self
        meant = OnRobot(readings=readings, outputs=outputs, unit=unit, question=question)
        if perturb is None:
            return replace(self, on_robot=meant)
        ball = ball_of(perturb, robot, policy.normaliser, state_limit, by_rate=by_rate)
        meant = replace(meant, groups=ball.groups, delays=ball.delays, biases=ball.biases)
        return replace(
            self, on_robot=meant, epsilon=ball.epsilon, norm=ball.norm, sensors=ball.sensors
        )

    def _question_on(self, robot: Robot, normaliser: Normaliser) -> QuestionOnRobot | None:
        """Return what it asks of a robot; None where it asks nothing, or a VNN-LIB file does."""
        if self.region is None:
            return None
        all_of, any_of = self.all_of or (), self.any_of or ()
        return QuestionOnRobot.of(self.region, all_of, any_of, robot, normaliser)

    def to_table(self) -> dict[str, Any]:
        """Return the fields that are set, as they stand in a budget file."""
        table: dict[str, Any] = to_table(self)
        return table

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str = "require") -> "Requirement":
        """Read one ``[[require]]`` table.

        Raises:
            InputError: If a key or value is wrong.
        """
        return build(cls, table, where)


def percent(share: float | None) -> str:
    """Return a share in percent, in full: 0.9999 does not become 100 %."""
    return "" if share is None else f"{Decimal(repr(float(share))).scaleb(2):f}%"
