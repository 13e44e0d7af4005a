"""What a deployment requires: the budget, a TOML file of ``[[require]]`` tables.

A requirement names a quantity, the perturbation it is about (size, norm, scope) and a limit. The
quantities, their units and which of them can be proved stand in one table, ``QUANTITIES``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from surefoot.artifact import sha256_hex
from surefoot.ball import Ball, Norm
from surefoot.config import build, parse_toml, to_table
from surefoot.errors import InputError, did_you_mean


class Scope(StrEnum):
    """Where a requirement must hold."""

    EVERYWHERE = "everywhere"
    VISITED = "visited"


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """What a requirement may be about.

    Attributes:
        meaning: One line for tables and help, with units.
        perturbed: Whether it needs an epsilon and a norm.
        proved: Whether it can be proved; the others are measured, and certificates say so.
        at_most: Whether its limit is an upper one (``at_most``) or a lower one (``at_least``).
        scoped: Whether it needs a scope.
        confident: Whether it may name a confidence: it is then known by independent episodes too,
            and counts by the limit that these prove with that confidence.
    """

    meaning: str
    perturbed: bool
    proved: bool
    at_most: bool = True
    scoped: bool = False
    confident: bool = False


QUANTITIES: Mapping[str, Quantity] = {
    "lipschitz": Quantity(
        meaning="largest |a(z + d) - a(z)|_2 / |d|, action units per normalised unit",
        perturbed=False,
        proved=True,
    ),
    "action_deviation": Quantity(
        meaning="largest change of one actuator's action, action units",
        perturbed=True,
        proved=True,
        scoped=True,
    ),
    "total_variation": Quantity(
        meaning="largest total variation between action distributions",
        perturbed=True,
        proved=True,
        scoped=True,
    ),
    "kl": Quantity(
        meaning="largest KL divergence between action distributions, nats",
        perturbed=True,
        proved=True,
        scoped=True,
    ),
    "return_loss": Quantity(
        meaning="largest loss of return of the sampling policy, reward units",
        perturbed=True,
        proved=True,
        confident=True,
    ),
    "compression_error": Quantity(
        meaning="largest change of one actuator's action against the dense policy, action units",
        perturbed=False,
        proved=True,
        scoped=True,
    ),
    "success_rate": Quantity(
        meaning="share of episodes under attack that end without a failure",
        perturbed=True,
        proved=False,
        at_most=False,
    ),
    "attacked_return": Quantity(
        meaning="lowest mean return over the attacks that were run",
        perturbed=True,
        proved=False,
        at_most=False,
        confident=True,
    ),
    "sparsity": Quantity(
        meaning="fraction of weights that are zero", perturbed=False, proved=False, at_most=False
    ),
    "latency_us": Quantity(
        meaning="99th percentile of one inference, microseconds", perturbed=False, proved=False
    ),
    "size_bytes": Quantity(meaning="size of policy.onnx, bytes", perturbed=False, proved=False),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """One line of a budget.

    Attributes:
        quantity: A key of ``QUANTITIES``.
        epsilon: Size of the perturbation, normalised units.
        norm: Norm of the perturbation (and of ``lipschitz``).
        sensors: For a linf perturbation, the share of epsilon by which each sensor may move, in
            [0, 1]; without it every sensor may move by all of it.
        scope: Everywhere, or at the states that the policy visits.
        fraction: For ``visited``: share of the visited states at which it must hold.
        confidence: Of every statistical claim, proved or measured; ``return_loss`` and
            ``attacked_return`` may do without, and are then no statistical claims.
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
        facts = QUANTITIES[self.quantity]
        visited = self.scope is Scope.VISITED
        self._need("epsilon", facts.perturbed)
        self._need("norm", facts.perturbed or self.quantity == "lipschitz")
        self._need("scope", facts.scoped)
        self._need("fraction", visited)
        if not (facts.confident and self.confidence is not None):
            self._need("confidence", visited or self.quantity == "success_rate")
        self._need("at_most", facts.at_most)
        self._need("at_least", not facts.at_most)
        if self.sensors is not None and not (facts.scoped and self.norm is Norm.LINF):
            raise InputError(f"sensors are for linf perturbations, not for {self.quantity}")
        _ = self.ball  # refuses an epsilon or shares that are none
        for name in ("fraction", "confidence"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise InputError(f"{name} must be in (0, 1), got {value}")
        if not math.isfinite(self.limit):
            raise InputError(f"the limit of {self.quantity} must be finite, got {self.limit}")
        if self.quantity == "sparsity" and not 0 <= self.limit < 1:
            raise InputError(f"the limit of sparsity must be in [0, 1), got {self.limit}")

    def _need(self, name: str, needed: bool) -> None:
        given = getattr(self, name) is not None
        if needed and not given:
            raise InputError(f"quantity {self.quantity!r} needs the field {name!r}")
        if given and not needed:
            raise InputError(f"quantity {self.quantity!r} takes no field {name!r} here")

    @property
    def ball(self) -> Ball | None:
        """The perturbation set, or None for a quantity that has none."""
        if self.epsilon is None or self.norm is None:
            return None
        return Ball(norm=self.norm, epsilon=self.epsilon, sensors=self.sensors)

    @property
    def limit(self) -> float:
        """The limit, whichever side it is on."""
        limit = self.at_most if self.at_most is not None else self.at_least
        return math.nan if limit is None else limit

    def holds(self, value: float) -> bool:
        """Return whether ``value`` is on the right side of the limit; NaN never is."""
        return value <= self.limit if self.at_most is not None else value >= self.limit

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
            words.append(f"at {_percent(self.fraction)} of visited states")
        words.append(f"{'at most' if self.at_most is not None else 'at least'} {self.limit:.12g}")
        if self.confidence is not None:
            words.append(f"with confidence {_percent(self.confidence)}")
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
        requirements: At least one.
        text: The TOML file, kept byte for byte in bundles.
    """

    requirements: tuple[Requirement, ...]
    text: str

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return sha256_hex(self.text.encode())

    @classmethod
    def parse(cls, text: str, what: str = "budget") -> "Budget":
        """Read a budget from TOML.

        Raises:
            InputError: If it is not TOML, has other tables than ``[[require]]``, or is empty.
        """
        tables = parse_toml(text, what)
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


def _percent(share: float | None) -> str:
    # enough digits that 0.9999 does not become 100 %
    return "" if share is None else f"{100 * share:.12g}%"
