"""Proved bounds around given states: the visited or recorded ones, or those of clean episodes.

Nothing here searches for violations. The lines of alpha-CROWN are chosen by gradient steps, the
same ones wherever they are taken; any lines would prove a bound.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.ball import Ball, Norm
from surefoot.certify.bounds.branch_and_bound import split_deviation
from surefoot.certify.bounds.choice_leads import choice_leads
from surefoot.certify.bounds.global_bounds import least_rows
from surefoot.certify.bounds.local_bounds import (
    LocalBounds,
    action_by_slopes,
    certified_radius,
    local_bounds,
    local_region,
)
from surefoot.certify.bounds.region import Region
from surefoot.certify.bounds.rounding import (
    RoundingBound,
    affines_of,
    rounding_around,
    rounding_at,
    rounding_of_change,
)
from surefoot.certify.bounds.upward import Float, up
from surefoot.certify.compression import both_roundings_at, compression_error_at
from surefoot.certify.confidence_limits import successes_needed, trials_needed
from surefoot.certify.everywhere import Everywhere, chosen, shares_of
from surefoot.certify.lateness import NO_ORDER, Lateness, Reach, SeenLate
from surefoot.errors import IntegrityError
from surefoot.policy import NO_CHOICE, NO_NOISE, Array, CategoricalHead, Policy
from surefoot.quantities.base.proof import Bound, Distance, Outputs, StateBounds
from surefoot.unknown import Unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """What local bounds may cost, as certificates record it.

    Attributes:
        split_boxes: Pieces into which the perturbations of one state may be cut.
        alpha_steps: Gradient steps that choose the lines of CROWN.
    """

    split_boxes: int = 0
    alpha_steps: int = 0

    @property
    def method(self) -> str:
        """Name of the local bound."""
        return f"alpha-crown, {self.alpha_steps} steps" if self.alpha_steps else "crown"

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "Effort":
        """Return the effort that a configuration or a saved proof names.

        Raises:
            IntegrityError: If it names no numbers.
        """
        named = {field.name: table.get(field.name, 0) for field in fields(cls)}
        for name, value in named.items():
            if type(value) is not int or value < 0:
                raise IntegrityError(f"{name} must be a number of at least 0, got {value!r}")
        return cls(**named)


_NO_ORDER = Unknown(NO_ORDER)
"""What is known of lateness where nothing says which states came before."""


class AtStates:
    """Bounds of one policy around given states, each computed once.

    Attributes:
        everywhere: Bounds that hold around these states as well.
        states: States in deployed arithmetic, normalised units, float32, shape (n, obs_dim).
        effort: Effort allowed to the bounds.
        dense: Policy from which this one was compressed, or why the two cannot be compared.
        lateness: Recorded states before these, or why there are none.
    """

    def __init__(
        self,
        everywhere: Everywhere,
        states: Array,
        effort: Effort,
        dense: Policy | Unknown,
        lateness: Lateness | Unknown = _NO_ORDER,
    ) -> None:
        self.everywhere = everywhere
        self.policy = everywhere.policy
        self.states = states
        self.effort = effort
        self.dense = dense
        self.lateness = lateness
        self._local: dict[Ball, LocalBounds] = {}
        self._reach: dict[tuple[int, ...], Reach | Unknown] = {}
        self._rounding: dict[Ball, RoundingBound | Unknown] = {}

    def only(self, rows: NDArray[np.intp]) -> "AtStates":
        """Return the bounds around some of the states."""
        return AtStates(self.everywhere, self.states[rows], self.effort, self.dense)

    def reach(self, ball: Ball) -> Reach | Unknown | None:
        """Return how far late readings move each sensor at each state; None where none is late."""
        if ball.delays is None:
            return None
        if isinstance(self.lateness, Unknown):
            return self.lateness
        if ball.delays not in self._reach:
            self._reach[ball.delays] = self.lateness.reach(ball.delays)
        return self._reach[ball.delays]

    def seen_late(self, ball: Ball, seed: int) -> SeenLate | None:
        """Return what may be seen late in the place of the states, None where nothing may.

        Args:
            ball: Perturbation set.
            seed: Seed of the delays that are drawn.
        """
        if ball.delays is None or isinstance(self.lateness, Unknown):
            return None
        return self.lateness.seen(ball.delays, seed)

    def left_of(self, state: Float, step: Float, ball: Ball) -> Float:
        """Return what of a perturbation no late reading explains, (k, obs_dim).

        Args:
            state: Normalised units, shape (obs_dim,).
            step: The perturbation, normalised units, shape (obs_dim,).
            ball: Perturbation set.

        Returns:
            A row for each of these states that it is.
        """
        rows = np.flatnonzero((self.states.astype(np.float64) == state).all(axis=1))
        reach = self.reach(ball)
        return reach.left(rows, step) if isinstance(reach, Reach) else step[None][:0]

    def rounding(self, ball: Ball) -> RoundingBound | Unknown:
        """Bound what rounding may add to a change around each state."""
        if isinstance(reach := self.reach(ball), Unknown):
            return reach
        if ball not in self._rounding:
            self._rounding[ball] = rounding_of_change(
                self.policy, self._region(ball), self.local(ball).before, self.everywhere.arithmetic
            )
        return self._rounding[ball]

    def _region(self, ball: Ball) -> Region:
        shares, reach = shares_of(ball, self.policy), self.reach(ball)
        region = local_region(self.states, ball.epsilon, ball.norm, shares, ball.groups)
        if reach is None:
            return region
        if isinstance(reach, Unknown):
            raise AssertionError(reach.reason)
        return region.reaching(reach.below, reach.above)

    def local(self, ball: Ball) -> LocalBounds:
        """Bound deviations and distances around each state in real arithmetic."""
        if ball not in self._local:
            region, steps = self._region(ball), self.effort.alpha_steps
            self._local[ball] = local_bounds(self.policy, region, steps)
        return self._local[ball]

    def whole_deviation(self, ball: Ball, outputs: Outputs = None) -> StateBounds | Unknown:
        """Bound the largest deployed deviation at each state, without splitting.

        Args:
            ball: Perturbation set.
            outputs: Numbers of the outputs that are meant; None for all.
        """
        rounding = self.rounding(ball)
        if isinstance(rounding, Unknown):
            return rounding
        everywhere = least_rows(self.everywhere.deviations(ball))
        rows = np.minimum(self.local(ball).action, everywhere)
        rows = self.everywhere.within_range(up(rows + rounding.action, 2))
        values = np.asarray(rows[:, chosen(outputs)].max(axis=1))
        return StateBounds(values=values, method=self.effort.method)

    def deviation(self, ball: Ball, limit: float, outputs: Outputs = None) -> StateBounds | Unknown:
        """Bound the largest deployed deviation at each state, split where above ``limit``."""
        whole, rounding = self.whole_deviation(ball, outputs), self.rounding(ball)
        if isinstance(whole, Unknown) or isinstance(rounding, Unknown):
            return whole
        if not self.effort.split_boxes or ball.norm is not Norm.LINF or ball.delays is not None:
            return whole
        lowered = whole.values.copy()
        for number in np.flatnonzero(whole.values > limit):
            extra = float(rounding.action[number].max())
            split = split_deviation(  # of all outputs, whichever are meant
                self.policy,
                self.states[number],
                ball.epsilon,
                limit - extra,
                num_boxes=self.effort.split_boxes,
                sensors=shares_of(ball, self.policy),
            )
            lowered[number] = min(whole.values[number], float(up(split.bound + extra)))
        return StateBounds(values=lowered, method=self.effort.method)

    def radius(
        self, ball: Ball, limit: float, largest: float, outputs: Outputs = None
    ) -> Float | Unknown:
        """Return the largest proved radius in which no action moves by more than ``limit``.

        Args:
            ball: Norm, shares of the sensors, and a radius at which bounds are known.
            limit: Action units.
            largest: Radius at which the bisection ends.
            outputs: Numbers of the outputs that are meant; None for all.
        """
        if ball.delays is not None:
            return Unknown("late readings grow with no radius")
        policy, arithmetic = self.policy, self.everywhere.arithmetic
        affines = affines_of(policy)
        still = rounding_at(policy, self.states.astype(np.float64), arithmetic, affines)
        known = self.rounding(ball)
        if isinstance(still, Unknown):
            return still
        if isinstance(known, Unknown):
            return known
        at_ball = self._largest(self.local(ball).action + known.action, outputs)
        unit = self._region(replace(ball, epsilon=1.0))

        def bound(radii: Float, rows: NDArray[np.intp]) -> Float:
            if (radii == ball.epsilon).all():
                return at_ball[rows]
            region, steps = unit.part(rows).scaled(radii), self.effort.alpha_steps
            local = local_bounds(policy, region, steps, by_slopes=False)
            rounding = rounding_around(policy, region, local.before, arithmetic, affines)
            if isinstance(rounding, Unknown):
                return np.full(len(radii), np.inf)
            added = rounding.action + still.action[rows]
            found = self._largest(local.action + added, outputs)
            above = np.flatnonzero(found > limit)
            if len(above):  # only there does it matter
                tighter = action_by_slopes(policy, region.part(above), local.part(above))
                found[above] = self._largest(tighter + added[above], outputs)
            return found

        return certified_radius(bound, limit, len(self.states), largest, ball.epsilon)

    def _largest(self, deviations: Float, outputs: Outputs) -> Float:
        """Return the largest deployed deviation of each row, from sums of three bounds."""
        rows = self.everywhere.within_range(up(deviations, 3))
        return np.asarray(rows[:, chosen(outputs)].max(axis=1))

    def distance(self, ball: Ball) -> Distance[Float] | Unknown:
        """Bound the distances of the action laws at each state, rounding included."""
        if not self.everywhere.has_law:
            return Unknown(NO_NOISE)
        rounding = self.rounding(ball)
        if isinstance(rounding, Unknown):
            return rounding
        everywhere, _ = self.everywhere.distance_size(ball)
        sizes = np.minimum(self.local(ball).distance, everywhere)
        return self.everywhere.laws(sizes, rounding.network, self.effort.method)

    def choice_lead(self, ball: Ball) -> StateBounds | Unknown:
        """Bound the lead of another choice at each state, rounding included."""
        if not isinstance(self.policy.head, CategoricalHead):
            return Unknown(NO_CHOICE)
        rounding = self.rounding(ball)
        if isinstance(rounding, Unknown):
            return rounding
        values = choice_leads(
            self.policy, self._region(ball), rounding.network, self.effort.alpha_steps
        )
        return StateBounds(values=values, method=self.effort.method)

    def compression_error(self) -> StateBounds | Unknown:
        """Bound the largest change against the dense policy at each state."""
        if isinstance(self.dense, Unknown):
            return self.dense
        arithmetic = self.everywhere.arithmetic
        extra = both_roundings_at(self.policy, self.dense, self.states, arithmetic)
        if isinstance(extra, Unknown):
            return extra
        change = compression_error_at(self.policy, self.dense, self.states)
        return StateBounds(values=up(change + extra).max(axis=1), method="evaluation")

    def at_share(self, bounds: StateBounds, fraction: float, limit: float, delta: float) -> Bound:
        """Return the bound that holds at a share of all states of which these are drawn.

        Order statistics: if k of n independent draws prove a share with Clopper and Pearson, the
        k-th smallest bound holds at that share.

        Args:
            bounds: Bounds at the states, which are independent draws.
            fraction: Share of the states, in (0, 1).
            limit: Limit of the requirement; the note counts the states that hold it.
            delta: Chance that the statement is wrong.
        """
        count = len(bounds.values)
        rank = successes_needed(count, fraction, delta)
        if rank is None:
            value = np.inf
            note = f"{count} states cannot prove a share of {fraction:g}; at least "
            note += f"{trials_needed(fraction, delta)} can"
        else:
            value = float(np.sort(bounds.values)[rank - 1])
            held = int((bounds.values <= limit).sum())
            note = f"{held} of {count} states hold the limit, error {delta:g}"
        return Bound(value=value, method=bounds.method, note=note, per_state=bounds.values)

    def at_every(self, bounds: StateBounds) -> Bound:
        """Return the bound that holds at every one of these states, and says nothing of others."""
        note = f"at each of {len(bounds.values)} recorded states, of which none is left out"
        value = float(bounds.values.max())
        return Bound(value=value, method=bounds.method, note=note, per_state=bounds.values)
