"""The critic that is fitted to a controller against values that are sums on paper."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from support.attacks import target_of
from support.environments import GridEnv
from support.policies import linear_policy
from surefoot.attack.fitted_critic import GAMMA, FittedCritic, fit_value
from surefoot.ball import Ball, Norm
from surefoot.envs.vector import StepResult
from surefoot.policy import CategoricalHead, Policy

BALL = Ball(norm=Norm.LINF, epsilon=0.1)


class Chain(GridEnv):
    """The corridor as a task that ends in its last cell."""

    HORIZON = 10**9

    def step(self, actions: NDArray[np.int64]) -> StepResult:
        result = super().step(actions)
        over = self._cell == self.CELLS - 1
        self._cell[over] = self._random.integers(2, 5, over.sum())
        return replace(result, obs=self._obs(), terminated=over)


def choosing(lead: float) -> Policy:
    """Return a controller whose choice of going right leads by this much in every cell."""
    policy = linear_policy([[0.0, 0.0], [0.1, 0.0]])
    layer = replace(policy.layers[0], bias=np.array([0.0, lead], np.float32))
    return replace(policy, layers=(layer,), head=CategoricalHead(num_actions=2))


def values_of(fitted: FittedCritic, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    hidden = np.stack([positions, np.zeros(len(positions))], axis=1)
    for layer in fitted.layers:
        hidden = layer.activation(hidden @ layer.weight.T.astype(np.float64) + layer.bias)
    return hidden[:, 0]


def test_values_of_a_chain_are_the_discounted_sums_of_what_is_left() -> None:
    fitted = fit_value(target_of(choosing(2.0), BALL, Chain), 6400)
    cells = np.arange(2, 8)
    exact = np.array([sum(GAMMA**k * (cell + 1 + k) for k in range(8 - cell)) for cell in cells])
    found = values_of(fitted, cells / 4 - 1)
    # Values come in an unknown unit: that of the returns' standard deviation.
    unit = (found @ exact) / (found @ found)
    np.testing.assert_allclose(unit * found, exact, atol=0.04 * exact.max())
    assert fitted.facts["explained_variance"] > 0.98
    assert fitted.facts["steps"] == fitted.effort.env_steps == 6400


def test_an_episode_that_is_cut_goes_on_in_the_values() -> None:
    # Cut every 12 steps, the way right is still worth more the further it has been gone: counted
    # to the cut alone, every episode's last steps would be worth least.
    fitted = fit_value(target_of(choosing(2.0), BALL, GridEnv), 6400)
    found = values_of(fitted, np.arange(2, 9) / 4 - 1)
    assert (np.diff(found) > 0).all()
