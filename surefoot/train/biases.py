"""Sensors that are calibrated wrongly while the policy learns, and the search for the worst case.

N = environments, D = obs_dim.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.ball import Ball, Norm
from surefoot.policy import Policy
from surefoot.train.defence_config import SensorBiases
from surefoot.train.rollout import Flags, Floats, Singles
from surefoot.train.streams import Stream, numpy_stream
from surefoot.train.train_config import TrainConfig

_GENERATION, _ELITE = 24, 6
_SMOOTHING = 0.7
"""Weight of the worst episodes of a generation in the next distribution."""

_LEAST_SPREAD = 0.2
"""Least spread of a direction: the policy changes, so that the search must never settle."""


class BiasSearch:
    """An online cross-entropy search for the direction under which a changing policy returns least.

    Reference:
        de Boer et al., "A tutorial on the cross-entropy method", Annals of Operations Research 134,
        2005, algorithm 4.2; here one generation after the other as episodes end.
    """

    def __init__(self, obs_dim: int) -> None:
        """Start without a preference."""
        self._mean_D, self._std_D = np.zeros(obs_dim), np.ones(obs_dim)
        self._draws: list[Floats] = []
        self._returns: list[float] = []

    def draw(self, random: np.random.Generator) -> Floats:
        """Return a direction to try, (D,)."""
        return np.asarray(self._mean_D + self._std_D * random.standard_normal(len(self._mean_D)))

    def tell(self, draw_D: Floats, episode_return: float) -> None:
        """Record the return of an episode in a direction."""
        self._draws.append(draw_D)
        self._returns.append(episode_return)
        if len(self._returns) < _GENERATION:
            return
        worst = np.argsort(self._returns, kind="stable")[:_ELITE]
        elite_ED = np.stack(self._draws)[worst]
        self._mean_D += _SMOOTHING * (elite_ED.mean(axis=0) - self._mean_D)
        self._std_D += _SMOOTHING * (elite_ED.std(axis=0) - self._std_D)
        np.maximum(self._std_D, _LEAST_SPREAD, out=self._std_D)
        self._draws, self._returns = [], []

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later draws depend on."""
        return {
            "mean": self._mean_D.copy(),
            "std": self._std_D.copy(),
            "draws": np.array(self._draws).reshape(-1, len(self._mean_D)),
            "returns": np.array(self._returns),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a stored state."""
        self._mean_D, self._std_D = state["mean"].copy(), state["std"].copy()
        self._draws, self._returns = list(state["draws"].copy()), state["returns"].tolist()


class EpisodeBiases:
    """A bias of all sensors in each environment, as large as the ball allows, for a whole episode.

    The first environments have none, the last ones that of the search, those between a random one.
    It is a `rollout.TrainingAdversary` and a `rollout.Disturbance`.
    """

    def __init__(self, config: TrainConfig, obs_dim: int) -> None:
        """Draw the first biases.

        Args:
            config: Training whose defence are biases.
            obs_dim: D.
        """
        assert isinstance(config.defence, SensorBiases)
        num_envs = config.num_envs
        self._hold_steps = config.defence.hold_steps
        self._num_unbiased = round(config.defence.unbiased * num_envs)
        self._first_searched = num_envs - round(config.defence.searched * num_envs)
        self._random = numpy_stream(config.seed, Stream.BIASES)
        self._search = BiasSearch(obs_dim)
        self._ball = Ball(norm=Norm.LINF, epsilon=0.0)
        self._direction_ND = np.zeros((num_envs, obs_dim))
        self._age_N = np.zeros(num_envs, np.int64)
        self._searched_returns: deque[float] = deque(maxlen=100)
        self._renew(np.ones(num_envs, np.bool_))

    def disturbance(self, policy: Policy, ball: Ball) -> "EpisodeBiases | None":
        """Return itself with biases of a size, or None while that is zero."""
        del policy  # the search knows what episodes return, and no more
        self._ball = ball
        return self if ball.epsilon else None

    def see(self, state_ND: Singles, env_N: NDArray[np.int64]) -> Singles:
        """Return the states plus the biases of their environments; see `rollout.Disturbance`."""
        seen_ND, biased = state_ND.copy(), env_N >= self._num_unbiased
        delta_ND = self._ball.outermost(self._direction_ND[env_N[biased]])
        seen_ND[biased] = self._ball.perturbed(state_ND[biased], delta_ND)
        return seen_ND

    def stepped(self, returns_N: Floats, done_N: Flags) -> None:
        """Teach the search what its episodes returned, and draw biases for what begins."""
        self._age_N += 1
        for env in np.flatnonzero(done_N[self._first_searched :]) + self._first_searched:
            self._search.tell(self._direction_ND[env].copy(), float(returns_N[env]))
            self._searched_returns.append(float(returns_N[env]))
        switch_N = done_N.copy()
        if self._hold_steps is not None:
            # Not the searched ones, which are judged by the return of a whole episode.
            old_N = self._age_N >= self._hold_steps
            switch_N[: self._first_searched] |= old_N[: self._first_searched]
        self._renew(switch_N)

    def _renew(self, which_N: Flags) -> None:
        for env in np.flatnonzero(which_N):
            if env >= self._first_searched:
                self._direction_ND[env] = self._search.draw(self._random)
            else:
                self._direction_ND[env] = self._random.standard_normal(self._direction_ND.shape[1])
        self._age_N[which_N] = 0

    def iterate(self, policy: Policy, ball: Ball) -> None:
        """Do nothing: it learns while rollouts are played."""

    def row(self) -> dict[str, float | None]:
        """Return its point in the curves: the mean return under the biases of the search."""
        returns = self._searched_returns
        return {"biased_return": float(np.mean(returns)) if returns else None}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later biases depend on."""
        return {
            "direction": self._direction_ND.copy(),
            "age": self._age_N.copy(),
            "generator": self._random.bit_generator.state,
            "search": self._search.state_dict(),
            "searched_returns": np.array(self._searched_returns),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a stored state."""
        self._direction_ND, self._age_N = state["direction"].copy(), state["age"].copy()
        self._random.bit_generator.state = state["generator"]
        self._search.load_state_dict(state["search"])
        self._searched_returns = deque(state["searched_returns"].tolist(), maxlen=100)
