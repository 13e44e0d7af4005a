"""What reproduces a violation of a requirement."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from surefoot.config import build, to_table


@dataclass(frozen=True, kw_only=True, slots=True)
class Witness:
    """A concrete violation; what does not belong to its kind is None.

    A pair of states reproduces a change of actions, one observation the gap to the dense policy,
    and a source what was measured.

    Attributes:
        observation: Raw observation of the state, shape (obs_dim,).
        state: The state, normalised units, shape (obs_dim,).
        perturbation: Perturbation of the state, normalised units, shape (obs_dim,).
        action: Outputs at the state, action units (or logits).
        perturbed_action: Outputs at the perturbed state.
        actuator: Number of the output that moves most.
        deviation: Change of that output, action units (or logits).
        runtime: Name of the arithmetic that replayed the pair.
        measure: Name of what was searched for.
        value: Value that violates the requirement, in the unit of the quantity.
        slope: Change of the actions over that of the state, for a Lipschitz constant.
        violated: Number of visited states at which the limit is exceeded.
        states: Number of visited states.
        share_at_most: Upper confidence limit of the share of states that hold the limit.
        source: Measured object, in words.
        seen: Outcome that was counted or averaged, in words.
        at_most: Upper confidence limit of what was measured.
    """

    observation: tuple[float, ...] | None = None
    state: tuple[float, ...] | None = None
    perturbation: tuple[float, ...] | None = None
    action: tuple[float, ...] | None = None
    perturbed_action: tuple[float, ...] | None = None
    actuator: int | None = None
    deviation: float | None = None
    runtime: str | None = None
    measure: str | None = None
    value: float | None = None
    slope: float | None = None
    violated: int | None = None
    states: int | None = None
    share_at_most: float | None = None
    source: str | None = None
    seen: str | None = None
    at_most: float | None = None

    def to_table(self) -> dict[str, Any]:
        """Return the witness as JSON values."""
        table: dict[str, Any] = to_table(self)
        return table

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> "Witness":
        """Read a witness back.

        Raises:
            InputError: If a key or value is wrong.
        """
        return build(cls, table, "witness")
