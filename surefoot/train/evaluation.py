"""Playing whole episodes with a frozen deterministic policy, apart from training.

N = environments, O = obs_dim.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from surefoot.envs.vector import VectorEnv
from surefoot.errors import DivergenceError
from surefoot.policy import Array, GaussianHead, Policy


def horizon_of(env: VectorEnv) -> int:
    """Return the number of steps after which an episode counts as over."""
    return env.spec.max_episode_steps or 1000


def play(policy: Policy, obs: NDArray[np.float64]) -> Array:
    """Return the deterministic actions at observations, (N, O), in float32 as deployed.

    Raises:
        DivergenceError: If an observation is not finite.
    """
    if not np.isfinite(obs).all():
        raise DivergenceError("an observation of an evaluation is not finite")
    return policy.head.select(policy.outputs(obs, np.float32))


def draw_noise(policy: Policy, generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return the noise that :func:`drawn_actions` adds, of this shape: normal, or Gumbel."""
    if isinstance(policy.head, GaussianHead):
        return generator.standard_normal(shape)
    return generator.gumbel(size=shape)


def drawn_actions(policy: Policy, raw: Array, noise: Array) -> Array:
    """Return actions drawn from the policy's law, as the environment takes them, (N, ...).

    Args:
        policy: Its head names the noise of a Gaussian.
        raw: Output of the network, (N, num_outputs).
        noise: From :func:`draw_noise`, of the same shape.

    Raises:
        InputError: If the file of a Gaussian policy names no noise.
    """
    if isinstance(policy.head, GaussianHead):
        return policy.head.act((raw + noise * policy.head.noise).astype(np.float32))
    # The largest of the logits with Gumbel noise is a draw from their softmax.
    return policy.head.select(raw + noise)


def clean_returns(policy: Policy, env: VectorEnv, seeds: Sequence[int]) -> NDArray[np.float64]:
    """Return the return of one episode per environment, (N,); see :func:`clean_episodes`."""
    return clean_episodes(policy, env, seeds)[0]


def clean_episodes(
    policy: Policy, env: VectorEnv, seeds: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return return and length of one episode per environment, (N,) each.

    Args:
        policy: Plays its mean or most probable action.
        env: Is reset; environments that are done before the others play on unheard.
        seeds: One per environment.

    Raises:
        DivergenceError: If a simulation diverges, or an observation or reward is not finite.
    """
    return whole_episodes(lambda obs_NO: play(policy, obs_NO), env, seeds)


def whole_episodes(
    act: Callable[[NDArray[np.float64]], Array], env: VectorEnv, seeds: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return return and length of one episode per environment, (N,) each.

    Args:
        act: From observations, (N, O), to what the environments take.
        env: Is reset; environments that are done before the others play on unheard.
        seeds: One per environment.

    Raises:
        DivergenceError: If a simulation diverges, or an observation or reward is not finite.
    """
    obs = env.reset(seeds)
    returns, lengths = np.zeros(env.num_envs), np.zeros(env.num_envs, np.int64)
    alive = np.ones(env.num_envs, np.bool_)
    for _ in range(horizon_of(env)):
        result = env.step(act(obs))
        returns += np.where(alive, result.reward, 0.0)
        lengths += alive
        alive &= ~(result.terminated | result.truncated)
        obs = result.obs
        if not alive.any():
            break
    if not np.isfinite(returns).all():
        raise DivergenceError("a reward of an evaluation is not finite")
    return returns, lengths
