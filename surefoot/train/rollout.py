"""Playing the task with the current policy, and the advantages of what was played.

T = steps of a rollout, N = environments, O = obs_dim, A = number of actuators.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from surefoot.ball import Ball
from surefoot.envs.vector import DiscreteActions, VectorEnv
from surefoot.errors import DivergenceError, InputError
from surefoot.policy import Array, Policy
from surefoot.train.distributions import Distribution

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Flags = NDArray[np.bool_]


class Disturbance(Protocol):
    """What an adversary makes of the states while a rollout is played."""

    def see(self, state_NO: Singles, env_N: NDArray[np.int64]) -> Singles:
        """Return the states, (n, O), that the policy sees in the numbered environments, (n,)."""

    def stepped(self, returns_N: Floats, done_N: Flags) -> None:
        """Learn the outcome of a step in all environments.

        Args:
            returns_N: Undiscounted return of each episode so far, (N,).
            done_N: Whether it ended with this step, (N,).
        """


class TrainingAdversary(Protocol):
    """Who disturbs the rollouts of a training; `load_state_dict` resumes it exactly."""

    def disturbance(self, policy: Policy, ball: Ball) -> Disturbance | None:
        """Return the disturbance of the next rollout, or None while there is none.

        Args:
            policy: Policy that sees the disturbed states.
            ball: What it may do to a state.
        """

    def iterate(self, policy: Policy, ball: Ball) -> None:
        """Learn from the policy that the last rollout led to, if it learns in games of its own."""

    def row(self) -> dict[str, float | None]:
        """Return its point in the curves."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later disturbances depend on."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a stored state."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rollout:
    """What was played.

    Attributes:
        obs: True observations, (T, N, O), raw units.
        states: States as the policy saw them, normalised and disturbed, and the state after the
            last step, (T + 1, N, O).
        actions: Actions before squash and scale, (T, N, A); choices, (T, N), if they are discrete.
        rewards: Shape (T, N).
        terminated: Shape (T, N).
        truncated: Shape (T, N).
        cut_states: States that it would have seen where truncated episodes ended, in the order
            of ``numpy.nonzero(truncated)``, (number of truncations, O).
    """

    obs: Floats
    states: Singles
    actions: Array
    rewards: Floats
    terminated: Flags
    truncated: Flags
    cut_states: Singles


class Collector:
    """Plays the task with exploration; keeps the environments and the returns of episodes."""

    def __init__(
        self,
        env: VectorEnv,
        seeds: Sequence[int],
        generator: np.random.Generator,
        *,
        stores_episodes: bool = True,
    ) -> None:
        """Start an episode in every environment.

        Args:
            env: The task; is reset.
            seeds: One per environment.
            generator: Source of the exploration.
            stores_episodes: Whether the state holds the episodes in progress.
        """
        self.env = env
        self._stores_episodes = stores_episodes
        self.recent_returns: deque[float] = deque(maxlen=100)
        self.num_episodes = 0
        self._generator = generator
        self._obs = env.reset(seeds)
        self._returns = np.zeros(env.num_envs)

    def look(self, obs: Floats) -> None:
        """Replace the current observations: those of a game change with the opponent."""
        self._obs = obs

    def collect(
        self,
        policy: Policy,
        distribution: Distribution,
        num_steps: int,
        disturbance: Disturbance | None = None,
    ) -> Rollout:
        """Play ``num_steps`` steps in every environment with sampled actions.

        Inference is NumPy in float32, several times faster than PyTorch on a handful of rows.

        Args:
            policy: Policy that plays.
            distribution: Distribution of its actions.
            num_steps: T.
            disturbance: Adversary that changes every state before the policy sees it.

        Raises:
            DivergenceError: If a simulation or the policy becomes non-finite.
        """

        def see(obs: Floats, env: NDArray[np.int64]) -> Singles:
            state = policy.state(obs, np.float32)
            return state if disturbance is None else disturbance.see(state, env)

        every = np.arange(len(self._obs))
        noise = distribution.noise(self._generator, (num_steps, len(every)))
        blank = self._blank(noise)
        cut_obs, cut_states = [self._obs[:0]], [blank.cut_states]
        for step in range(num_steps):
            blank.obs[step] = self._obs
            blank.states[step] = see(self._obs, every)
            blank.actions[step] = distribution.sample(
                policy.network(blank.states[step]), noise[step]
            )
            result = self.env.step(policy.head.act(blank.actions[step]))
            blank.rewards[step] = result.reward
            # An episode that terminates at its very limit has no value after it.
            cut = result.truncated & ~result.terminated
            blank.terminated[step], blank.truncated[step] = result.terminated, cut
            if cut.any():  # as the adversary of the episode that ends makes it look
                cut_obs.append(result.terminal_obs[cut])
                cut_states.append(see(result.terminal_obs[cut], every[cut]))
            done = result.terminated | result.truncated
            self._returns += result.reward
            if disturbance is not None:
                disturbance.stepped(self._returns, done)
            self._count_episodes(done)
            self._obs = result.obs
        blank.states[num_steps] = see(self._obs, every)
        rollout = replace(blank, cut_states=np.concatenate(cut_states))
        self._require_finite(rollout, np.concatenate([self._obs, *cut_obs]))
        return rollout

    def _blank(self, noise: Array) -> Rollout:
        """Return a rollout with arrays to fill, of as many steps as there is noise for."""
        steps, (num_envs, obs_dim) = len(noise), self._obs.shape
        discrete = isinstance(self.env.spec.actions, DiscreteActions)
        terminated, truncated = np.empty((2, steps, num_envs), np.bool_)
        return Rollout(
            obs=np.empty((steps, num_envs, obs_dim)),
            states=np.empty((steps + 1, num_envs, obs_dim), np.float32),
            actions=np.empty(noise.shape[:2], np.int64)
            if discrete
            else np.empty(noise.shape, np.float32),
            rewards=np.empty((steps, num_envs)),
            terminated=terminated,
            truncated=truncated,
            cut_states=np.empty((0, obs_dim), np.float32),
        )

    def _require_finite(self, rollout: Rollout, last_obs: Floats) -> None:
        """Check that every number of a rollout is finite.

        Raises:
            DivergenceError: If a number is not finite.
        """
        # Observations by themselves, for the clip makes a finite state of an infinite one.
        seen: dict[str, Array] = {
            "observation": rollout.obs,
            "last observation": last_obs,
            "state": rollout.states,
            "action": rollout.actions,
            "reward": rollout.rewards,
            "last state": rollout.cut_states,
        }
        for name, array in seen.items():
            if not np.isfinite(array).all():
                raise DivergenceError(f"{self.env.spec.env_id}: {name} is not finite")

    def _count_episodes(self, done_N: Flags) -> None:
        if done_N.any():
            self.recent_returns.extend(self._returns[done_N].tolist())
            self.num_episodes += int(done_N.sum())
            self._returns[done_N] = 0

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later rollouts depend on, the episodes in progress if stored."""
        return {
            "env": self.env.state_dict() if self._stores_episodes else None,
            "generator": self._generator.bit_generator.state,
            "returns": self._returns.copy(),
            "recent_returns": np.array(self.recent_returns),
            "num_episodes": self.num_episodes,
        }

    def load_state_dict(self, state: Mapping[str, Any], new_seeds: Sequence[int] | None) -> None:
        """Go back to a stored state, with its episodes or with new ones of these seeds.

        Raises:
            InputError: If its episodes are wanted and it holds none.
        """
        if new_seeds is not None:
            self._obs = self.env.reset(new_seeds)
            self._returns = np.zeros(self.env.num_envs)
        elif state["env"] is None:
            raise InputError(
                'train.resume must be "new_episodes", as when the run was stopped, got "replay"'
            )
        else:
            self._obs = self.env.load_state_dict(state["env"])
            self._returns = state["returns"].copy()
        self._generator.bit_generator.state = state["generator"]
        self.recent_returns = deque(state["recent_returns"].tolist(), maxlen=100)
        self.num_episodes = state["num_episodes"]


def values_after(values: Floats, cut_values: Floats, truncated: Flags) -> Floats:
    """Return the value of what each step led to, (T, N).

    Where an episode was cut it is the value of the state it was cut in, not of the first state of
    the next episode. Where it terminated the number is of no effect.

    Args:
        values: Values of every state and of the one after the last step, (T + 1, N).
        cut_values: Values of the states in which episodes were truncated.
        truncated: Shape (T, N).
    """
    after = values[1:].copy()
    after[truncated] = cut_values
    return after


def advantages(
    rewards: Floats,
    values: Floats,
    after: Floats,
    terminated: Flags,
    truncated: Flags,
    *,
    gamma: float,
    gae_lambda: float,
) -> Floats:
    """Return generalised advantage estimates, (T, N).

    Args:
        rewards: Shape (T, N).
        values: Values of the states before each step, (T, N).
        after: Values of the states after each step, (T, N): see :func:`values_after`.
        terminated: No value follows, (T, N).
        truncated: The episode was cut; its value goes on, its advantages do not, (T, N).
        gamma: Discount.
        gae_lambda: Lambda.

    Reference:
        Schulman et al. 2016 (arXiv 1506.02438), equations 11 and 16.
    """
    # TD error: r_t + gamma V(s_{t+1}) - V(s_t)
    errors = rewards + gamma * np.where(terminated, 0.0, after) - values
    decay = np.where(terminated | truncated, 0.0, gamma * gae_lambda)
    result = np.empty_like(errors)
    running = np.zeros(errors.shape[1])
    for step in reversed(range(len(errors))):
        running = errors[step] + decay[step] * running
        result[step] = running
    return result
