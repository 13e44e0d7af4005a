"""Proved bounds for every state that a gate lets through, from its ranges alone.

The gate compares what the controller reads, so that nothing is assumed and nothing is drawn: a
state that it lets through lies in the box of its ranges. Slopes and magnitudes are those of that
box and what a perturbation adds to it, wherever they are less than those of all states. One of the
two states of a claim lies in the box and the other within the perturbation of it, so that it does
not matter which of them is the true one.

Nothing here searches or optimises, so that the checker can build it again.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from surefoot.ball import Ball, Norm
from surefoot.certify.bounds.arithmetics import Arithmetic
from surefoot.certify.bounds.chain import action_chain
from surefoot.certify.bounds.crown import interval_layers
from surefoot.certify.bounds.global_bounds import closed_form_bounds
from surefoot.certify.bounds.lipsdp_proof import Multipliers
from surefoot.certify.bounds.local_chain import local_chain
from surefoot.certify.bounds.region import Region, network_of
from surefoot.certify.bounds.rounding import RoundingBound, rounding_around
from surefoot.certify.bounds.upward import Float, up
from surefoot.certify.everywhere import Everywhere, shares_of
from surefoot.gate import Gate, GateFile
from surefoot.policy import Policy
from surefoot.unknown import Unknown

_SMALLEST = 1e-30
"""A clip must be positive; a box that is the mean alone is enlarged to this."""


class BehindGate(Everywhere):
    """Bounds of one policy that hold in every state that a gate lets through.

    Attributes:
        policy: It, with a clip at the largest state of the box, which changes nothing there.
        low: Least state of each sensor, normalised units, (obs_dim,).
        high: Largest state of each sensor, normalised units, (obs_dim,).
    """

    def __init__(
        self,
        policy: Policy,
        gate: Gate,
        arithmetic: Arithmetic,
        multipliers: Sequence[tuple[str, Multipliers]] = (),
    ) -> None:
        self.low, self.high = state_box(policy, gate)
        clip = min(policy.normaliser.clip, largest_state(policy, gate))
        clipped = replace(policy, normaliser=replace(policy.normaliser, clip=clip))
        super().__init__(clipped, arithmetic, multipliers)
        self._around: dict[float, RoundingBound | Unknown] = {}

    def rounding(self, epsilon: float) -> RoundingBound | Unknown:
        """Bound e_rt over the box and what a perturbation adds to it."""
        everywhere = super().rounding(epsilon)
        if epsilon not in self._around:
            region = self._region(epsilon)
            before = interval_layers(network_of(self.policy), region)
            self._around[epsilon] = rounding_around(self.policy, region, before, self.arithmetic)
        here = self._around[epsilon]
        if isinstance(here, Unknown) or isinstance(everywhere, Unknown):
            return everywhere if isinstance(here, Unknown) else _only(here)
        only = _only(here)
        return RoundingBound(
            network=np.minimum(only.network, everywhere.network),
            action=np.minimum(only.action, everywhere.action),
        )

    def deviations(self, ball: Ball) -> dict[str, Float]:
        """Bound each actuator's change in real arithmetic: by name, shape (m,)."""
        bounds = super().deviations(ball)
        if not self.is_bounded or ball.delays is not None:
            return bounds
        network = network_of(self.policy)
        before = interval_layers(network, self._region(ball.epsilon))[:-1]
        chain = action_chain(self.policy)
        if len(chain.slopes) != len(before):  # layers without an activation are joined
            return bounds
        local = local_chain(chain, network, before)
        if local is None:
            return bounds
        shares = shares_of(ball, self.policy)
        here = closed_form_bounds(local).deviations(ball.epsilon, ball.norm, shares, ball.groups)
        return bounds | {f"{name} on the gate": rows for name, rows in here.items()}

    def _region(self, epsilon: float) -> Region:
        """Return the box and what a perturbation may add to it, in any norm."""
        centre = (self.low + self.high) / 2
        ends = np.maximum(self.high - centre, centre - self.low)
        sides = up(up(ends, 2) + epsilon + np.abs(centre) * 2.0**-50, 2)
        return Region(
            centres=centre[None],
            radius=sides.max(keepdims=True),
            norm=Norm.LINF,
            sides=sides[None],
        )


def state_box(policy: Policy, gate: Gate) -> tuple[Float, Float]:
    """Return the states of readings that a gate lets through, normalised units, (obs_dim,) each.

    A state rises with its reading, so that the ends of the one belong to the ends of the other.
    """
    normaliser = policy.normaliser
    ends = normaliser.unclipped(np.stack(gate.box))
    # Difference and quotient of float64 are within two roundings of the real ones.
    slack = np.abs(ends) * 2.0**-50
    low, high = ends[0] - slack[0], ends[1] + slack[1]
    return np.clip(low, -normaliser.clip, normaliser.clip), np.clip(
        high, -normaliser.clip, normaliser.clip
    )


def largest_state(policy: Policy, gate: Gate) -> float:
    """Return the largest magnitude of a state that a gate lets through, normalised units."""
    return max(float(np.abs(state_box(policy, gate)).max()), _SMALLEST)


def enforced_state(policy: Policy, file: GateFile | None) -> float | None:
    """Return the largest magnitude of a state that a controller's gate lets through, if it has one.

    Args:
        policy: Policy of the controller.
        file: Its gate; None without one.
    """
    return None if file is None else largest_state(policy, file.gate)


def _only(bound: RoundingBound) -> RoundingBound:
    """Return the bound of a single region without the axis of regions."""
    return RoundingBound(network=bound.network[0], action=bound.action[0])
