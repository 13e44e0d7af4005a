"""Gradient-free attacks on the deployed controller itself.

They see outputs alone, so that flat or false gradients (saturation, rounding, a broken twin) do not
protect a controller from them: where one of them does more harm than the gradient attacks do, the
gradients were masked.

    corners   the worst of random corners of the ball
    square    random search that redraws blocks of coordinates, keeping what is worse
    spsa      ascent along gradients estimated from pairs of opposite random steps

N = batch, D = obs_dim, M = num_outputs. Candidates of a step go through the controller as one
batch; what is played goes through it alone, as on the robot.

Reference:
    Andriushchenko et al. 2020 (arXiv 1912.00049), square attack; Uesato et al. 2018
    (arXiv 1802.05666), SPSA.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from surefoot.attack.cost import Cost
from surefoot.ball import Ball, Deltas, Norm, Randoms, States
from surefoot.envs.vector import Floats
from surefoot.policy import Array

Query = Callable[[States], Array]
"""The deployed controller: from states to its outputs, NaN where its arithmetic failed."""


class Harm(Protocol):
    """How bad outputs are at true states."""

    def __call__(self, state_ND: States, clean_NM: Floats, moved_NM: Floats) -> Floats:
        """Return the harm, (N,); larger is worse.

        Args:
            state_ND: The true states.
            clean_NM: Outputs there.
            moved_NM: Outputs at perturbed states.
        """


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Oracle:
    """Tells how much harm perturbations do, and nothing else.

    Attributes:
        ball: The perturbation set.
        query: The deployed controller.
        harm: Harm to maximise.
    """

    ball: Ball
    query: Query
    harm: Harm

    def around(self, state_ND: States) -> "Callable[[Deltas], Floats]":
        """Return the harm as a function of perturbations (C, N, D) of the states: (C, N)."""
        clean_NM = self.query(state_ND).astype(np.float64)

        def harm(delta_CND: Deltas) -> Floats:
            num, rows, dim = delta_CND.shape
            repeated = np.broadcast_to(state_ND, (num, rows, dim)).reshape(-1, dim)
            seen = self.ball.perturbed(repeated, delta_CND.reshape(-1, dim))
            moved = self.query(seen).astype(np.float64)
            clean = np.broadcast_to(clean_NM, (num, *clean_NM.shape)).reshape(moved.shape)
            found = self.harm(repeated, clean, moved).reshape(num, rows)
            # Outputs that are not finite are the greatest harm there is.
            broken = ~np.isfinite(moved).all(axis=1).reshape(num, rows)
            return np.where(broken, np.inf, found)

        return harm


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CornerSearch:
    """The worst of random corners (linf) or points of the sphere (l2).

    Attributes:
        oracle: Oracle that answers the queries.
        num: Corners per state.
    """

    oracle: Oracle
    num: int = 256

    @property
    def ball(self) -> Ball:
        """The perturbation set."""
        return self.oracle.ball

    @property
    def effort(self) -> Cost:
        """What one state costs."""
        return Cost(queries=self.num + 1)

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        """Return the states at the worst corners."""
        delta_CND = self.ball.boundary(randoms, state_ND.shape[1], self.num)
        worst_N = self.oracle.around(state_ND)(delta_CND).argmax(axis=0)
        return self.ball.perturbed(state_ND, delta_CND[worst_N, np.arange(len(worst_N))])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SquareSearch:
    """Random search that redraws a block of neighbouring coordinates at a time.

    It starts at the worst of a few corners. The block shrinks from half of the coordinates to one.

    Attributes:
        oracle: Oracle that answers the queries.
        starts: Corners to start from.
        iterations: Blocks that are tried, one after the other.
    """

    oracle: Oracle
    starts: int = 16
    iterations: int = 48

    @property
    def ball(self) -> Ball:
        """The perturbation set."""
        return self.oracle.ball

    @property
    def effort(self) -> Cost:
        """What one state costs."""
        return Cost(queries=self.starts + self.iterations + 1)

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        """Return the states that the search ended at."""
        num, dim = state_ND.shape
        harm, rows = self.oracle.around(state_ND), np.arange(num)
        delta_CND = self.ball.boundary(randoms, dim, self.starts)
        found_CN = harm(delta_CND)
        first_N = found_CN.argmax(axis=0)
        delta_ND, best_N = delta_CND[first_N, rows], found_CN[first_N, rows]
        fresh_CND = self.ball.boundary(randoms, dim, self.iterations)
        place_CN = np.stack([random.integers(0, dim, self.iterations) for random in randoms], 1)
        for number in range(self.iterations):
            share = 1 - number / self.iterations
            size = max(1, round(share * dim / 2))
            offset_ND = (np.arange(dim) - place_CN[number][:, None]) % dim
            tried_ND = np.where(offset_ND < size, fresh_CND[number], delta_ND)
            value_N = harm(tried_ND[None])[0]
            better_N = value_N > best_N
            delta_ND = np.where(better_N[:, None], tried_ND, delta_ND)
            best_N = np.where(better_N, value_N, best_N)
        return self.ball.perturbed(state_ND, delta_ND)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SpsaSearch:
    """Ascent along estimated gradients; the best iterate counts.

    Attributes:
        oracle: Oracle that answers the queries.
        steps: Steps of the ascent.
        pairs: Opposite random steps for each estimate.
        slack: Step size in units of epsilon / steps.
        reach: Size of the random steps in units of epsilon: at least a quantum of the controller's
            arithmetic, or nothing changes.
    """

    oracle: Oracle
    steps: int = 8
    pairs: int = 8
    slack: float = 2.5
    reach: float = 0.5

    @property
    def ball(self) -> Ball:
        """The perturbation set."""
        return self.oracle.ball

    @property
    def effort(self) -> Cost:
        """What one state costs."""
        return Cost(queries=self.steps * (2 * self.pairs + 1) + 2)

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        """Return the states at the best iterates."""
        ball, harm = self.ball, self.oracle.around(state_ND)
        num, dim = state_ND.shape
        signs_CND = _signs(randoms, self.steps * self.pairs, dim)
        probes_KPND = self.reach * ball.sides * signs_CND.reshape(-1, self.pairs, num, dim)
        delta_ND = np.zeros((num, dim))
        best_ND, best_N = delta_ND, harm(delta_ND[None])[0]
        for probes_PND in probes_KPND:
            values = harm(np.concatenate([delta_ND + probes_PND, delta_ND - probes_PND]))
            # Infinite harm on both sides says nothing about the way.
            ahead, behind = np.nan_to_num(values, posinf=1e30).reshape(2, self.pairs, num)
            gradient_ND = ((ahead - behind)[..., None] * probes_PND).sum(axis=0)
            # Where all is flat nothing leads away: any way will do.
            flat_N1 = ~gradient_ND.any(axis=1, keepdims=True)
            gradient_ND = np.where(flat_N1, probes_PND[0], gradient_ND)
            delta_ND = ball.project(delta_ND + self._step(gradient_ND))
            value_N = harm(delta_ND[None])[0]
            better_N = value_N > best_N
            best_ND = np.where(better_N[:, None], delta_ND, best_ND)
            best_N = np.where(better_N, value_N, best_N)
        return ball.perturbed(state_ND, best_ND)

    def _step(self, gradient_ND: Deltas) -> Deltas:
        size = self.slack * self.ball.epsilon / self.steps
        if self.ball.groups:
            return self.ball.outermost(gradient_ND) * (self.slack / self.steps)
        if self.ball.norm is Norm.LINF:
            return size * np.sign(gradient_ND)
        length_N1 = np.linalg.norm(gradient_ND, axis=1, keepdims=True)
        step: Deltas = size * gradient_ND / np.maximum(length_N1, 1e-300)
        return step


def _signs(randoms: Randoms, num: int, dim: int) -> Deltas:
    """Draw +-1 for each stream, (num, N, D)."""
    bits = np.stack([random.integers(0, 2, (num, dim)) for random in randoms], axis=1)
    return np.asarray(2.0 * bits - 1.0, np.float64)
