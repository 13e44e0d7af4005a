"""What a deployment requires: the budget, a TOML file of ``[[require]]`` tables.

A requirement names a quantity, the perturbation it is about (size, norm, scope) and a limit. What
each quantity is and which fields it needs stands in ``surefoot.quantities``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from surefoot.artifact import sha256_hex
from surefoot.ball import Ball, Norm
from surefoot.config import build, parse_toml, to_table
from surefoot.errors import InputError, did_you_mean
from surefoot.limits import MAX_BUDGET_BYTES
from surefoot.quantities import QUANTITIES as QUANTITIES
from surefoot.quantities.base.quantity import AnyQuantity, Topic
from surefoot.quantities.base.scope import Scope as Scope
from surefoot.question import Condition, Question, Where


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """One line of a budget.

    Attributes:
        quantity: A key of ``QUANTITIES``.
        epsilon: Size of the perturbation, normalised units.
        norm: Norm of the perturbation (and of ``lipschitz``).
        sensors: Share of epsilon by which each sensor may move in a linf perturbation, in
            [0, 1]; without it every sensor may move by all of it.
        scope: Everywhere, at a share of the states that the policy visits, or at every recorded
            one.
        fraction: Share of the visited states at which a ``visited`` requirement must hold.
        confidence: Confidence of a statistical claim, proved or measured; some quantities may do
            without, and are then no statistical claims.
        region: Where a condition must hold: a box of ``raw`` or ``normalised`` units with the ends
            ``low`` and ``high``, or ``recorded`` for every recorded state.
        all_of: Linear inequalities on the actions of which each must hold, such as
            ``action[0] - 2 * action[1] <= 0.5``; action[k] is output k, of a discrete controller
            its logit.
        any_of: Linear inequalities of which one must hold.
        at_most: Upper limit, in the unit of the quantity.
        at_least: Lower limit, in the unit of the quantity.
    """

    quantity: str
    epsilon: float | None = None
    norm: Norm | None = None
    sensors: tuple[float, ...] | None = None
    scope: Scope | None = None
    fraction: float | None = None
    confidence: float | None = None
    region: Where | None = None
    all_of: tuple[str, ...] | None = None
    any_of: tuple[str, ...] | None = None
    at_most: float | None = None
    at_least: float | None = None

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
        _ = self.ball  # refuses an epsilon or shares that are none
        _ = self.region and self.question  # and inequalities
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
        shares_fit = "sensors" in self.about.takes and self.norm is Norm.LINF
        if self.sensors is not None and not shares_fit:
            raise InputError(f"sensors are for linf perturbations, not for {self.quantity}")
        needs = self.about.needs
        if self.about.fixed_limit is None:
            needs |= {"at_most" if self.about.at_most else "at_least"}
        if self.scope is Scope.VISITED:
            needs |= {"fraction", "confidence"}
        given = {field.name for field in fields(self) if getattr(self, field.name) is not None}
        if given & {"epsilon", "norm"} and self.about.takes >= {"epsilon", "norm"}:
            needs |= {"epsilon", "norm"}  # a perturbation that is optional is optional as a whole
        for field in fields(self):
            if field.name in needs - given:
                raise InputError(f"quantity {self.quantity!r} needs the field {field.name!r}")
            if field.name in given - needs - self.about.takes - {"quantity"}:
                raise InputError(f"quantity {self.quantity!r} takes no field {field.name!r} here")

    @property
    def about(self) -> AnyQuantity:
        """The quantity itself."""
        return QUANTITIES[self.quantity]

    @property
    def ball(self) -> Ball | None:
        """The perturbation set, or None for a quantity that has none."""
        if self.epsilon is None or self.norm is None:
            return None
        return Ball(norm=self.norm, epsilon=self.epsilon, sensors=self.sensors)

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
    def question(self) -> Question:
        """The question of a requirement that has one.

        Raises:
            InputError: If it has none, or an inequality is none.
        """
        if self.region is None:
            raise InputError(f"quantity {self.quantity!r} asks no question")
        condition = Condition.parse(self.all_of or (), self.any_of or ())
        return Question(where=self.region, condition=condition)

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
        words = [self.quantity]
        if self.epsilon is not None:
            words.append(f"under {self.norm} {self.epsilon:.12g}")
        elif self.norm is not None:
            words.append(f"in {self.norm}")
        if self.sensors is not None:
            words.append(f"times ({', '.join(f'{share:.12g}' for share in self.sensors)})")
        if self.scope is Scope.EVERYWHERE:
            words.append("everywhere")
        if self.scope is Scope.VISITED:
            words.append(f"at {percent(self.fraction)} of visited states")
        if self.scope is Scope.RECORDED:
            words.append("at every recorded state")
        if self.region is not None:
            words.append(self.question.describe())
        if self.about.fixed_limit is None:
            side = "at most" if self.about.at_most else "at least"
            words.append(f"{side} {self.limit:.12g}")
        if self.confidence is not None:
            words.append(f"with confidence {percent(self.confidence)}")
        return " ".join(words)

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """The requirements of a deployment.

    Attributes:
        requirements: The requirements, at least one.
        text: The TOML file, kept byte for byte in bundles.
    """

    requirements: tuple[Requirement, ...]
    text: str

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
    def parse(cls, text: str, what: str = "budget") -> "Budget":
        """Read a budget from TOML.

        Raises:
            InputError: If it is not TOML, has other tables than ``[[require]]``, or is empty.
        """
        tables = parse_toml(text, what, max_bytes=MAX_BUDGET_BYTES)
        for key in tables:
            if key != "require":
                raise InputError(f"{what}: unknown key {key!r}{did_you_mean(key, ['require'])}")
        entries = tables.get("require")
        if not isinstance(entries, list) or not entries:
            raise InputError(f"{what} must hold at least one [[require]] table")
        requirements = tuple(
            Requirement.from_table(entry, f"{what}: require[{number}]")
            for number, entry in enumerate(entries)
        )
        return cls(requirements=requirements, text=text)


def percent(share: float | None) -> str:
    """Return a share in percent, with so many digits that 0.9999 does not become 100 %."""
    return "" if share is None else f"{100 * share:.12g}%"
