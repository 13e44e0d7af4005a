"""The weights of the sensors as parameters of the search for a metric.

D_k = L^2 Theta_u / s_k^2 for the sides s of a ball, with Theta = softmax(t) over what is measured
together, so that no constraint remains. The reach of that metric is L, the constant of the chain
with column k of its first matrix times s_k / sqrt(Theta_u).
Derivation: docs/explanation/mathematics.md, 4.7.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from surefoot.ball import Ball
from surefoot.certify.bounds.chain import Chain
from surefoot.certify.bounds.global_bounds import absolute_matrix
from surefoot.certify.bounds.lipsdp_recursion import log_squared_bound_by_sensor
from surefoot.certify.bounds.metric import measured_together
from surefoot.certify.bounds.upward import Float, IntervalMatrix

_LEAST_SIDE = 2.0**-20
"""Share of the longest side that a sensor has in the search which does not move, or hardly."""

_LEAST_SHARE = 1e-9
"""Share of the largest Theta at which none starts below: a logarithm is taken."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SensorWeights:
    """Parameters (t, and p and q of the layers) of one chain and one ball.

    Attributes:
        chain: The chain that is bounded.
        sides: s, how far each sensor may move, in any unit, shape (obs_dim,).
        groups: Number u of what each sensor is measured with, from 0, shape (obs_dim,).
    """

    chain: Chain
    sides: Float
    groups: NDArray[np.intp]

    @classmethod
    def of(cls, ball: Ball, chain: Chain) -> "SensorWeights":
        """Return the weights for a ball, in which some sensor may move."""
        size = chain.num_inputs
        sides = np.ones(size) if ball.sensors is None else np.array(ball.sensors)
        together = measured_together(size, ball.norm, ball.groups)
        return cls(
            chain=chain,
            sides=np.maximum(sides, _LEAST_SIDE * sides.max()),
            groups=np.unique(together, return_inverse=True)[1],
        )

    @property
    def start(self) -> Float:
        """T that is best where all slopes are the largest and nothing cancels, shape (groups,).

        For |f_j| <= sum_k M_jk |d_k| the inequality of Cauchy and Schwarz gives
        Theta_k in proportion to s_k sum_j M_jk (M s)_j.
        """
        absolute = absolute_matrix(self.chain) * self.sides
        shares = np.bincount(self.groups, absolute.sum(axis=1) @ absolute)
        if not 0 < shares.max() < np.inf:
            return np.zeros_like(shares)
        return np.asarray(np.log(np.maximum(shares / shares.max(), _LEAST_SHARE)))

    def split(self, parameters: Float) -> tuple[Float, Float]:
        """Return D / L^2, shape (obs_dim,), and the parameters of the layers."""
        return self._theta(parameters)[self.groups] / self.sides**2, parameters[self._size :]

    def log_squared_reach(self, parameters: Float) -> tuple[float, Float]:
        """Return ln L^2 and its gradient; infinity and zeros where it fails."""
        ratios, layers = self.split(parameters)
        scaled = with_sensors_scaled(self.chain, ratios)
        value, gradient, by_sensor = log_squared_bound_by_sensor(scaled, layers)
        # Column k is scaled by a multiple of Theta_u^(-1/2), and d Theta = Theta (dt - Theta' dt).
        by_group = -np.bincount(self.groups, by_sensor) / 2
        by_t = by_group - self._theta(parameters) * by_group.sum()
        return value, np.concatenate([by_t, gradient])

    @property
    def _size(self) -> int:
        return int(self.groups.max()) + 1

    def _theta(self, parameters: Float) -> Float:
        theta: Float = softmax(parameters[: self._size])
        return theta


def with_sensors_scaled(chain: Chain, ratios: Float) -> Chain:
    """Return the chain of which a constant L is the metric L^2 diag(ratios) of this one.

    For a search alone: what the quotients round is left out.
    """
    first = IntervalMatrix.exact(chain.matrices[0].centre / np.sqrt(ratios))
    return Chain(matrices=(first, *chain.matrices[1:]), slopes=chain.slopes)
