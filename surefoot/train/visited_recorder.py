"""The states that a finished policy visits, recorded for certification.

N = environments, O = obs_dim.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.envs.vector import VectorEnv
from surefoot.errors import InputError
from surefoot.policy import Array, GaussianHead, Policy
from surefoot.train.evaluation import draw_noise, drawn_actions, horizon_of, play
from surefoot.train.streams import Stream, env_seeds, numpy_stream
from surefoot.visited import SampledEpisodes, Visited

_MAX_SAMPLED = 128

_NUM_EARLIER = 8
"""Steps before each visited observation that are kept, for claims about readings that are late."""


def record_visited(
    policy: Policy,
    env: VectorEnv,
    seed: int,
    *,
    num_states: int,
    num_pool: int = 4096,
    num_trials: int = 0,
) -> Visited:
    """Play fresh episodes with the deterministic policy and record what it observes.

    Args:
        policy: Frozen.
        env: Is reset; its number of environments is part of what a seed means.
        seed: Seed of the run; the streams of these episodes are used by nothing else.
        num_states: Number of independent observations; 0 for no episodes at all.
        num_pool: Largest number of dependent observations.
        num_trials: Number of further independent observations, on which a gate is tried.

    Raises:
        InputError: If fewer than one episode in a hundred reaches its step.
        DivergenceError: If a simulation diverges.
    """
    drawn = _draw(policy, env, seed, Stream.VISITED, num_states)
    trials = _draw(policy, env, seed, Stream.TRIALS, num_trials).states if num_trials else None
    return Visited(
        independent=drawn.states,
        steps=drawn.steps,
        num_discarded=drawn.num_discarded,
        pool=drawn.pool[:: max(1, -(-len(drawn.pool) // num_pool))],
        in_pool=drawn.in_pool,
        trials=trials,
        earlier=drawn.earlier if num_states else None,
        sampled=record_sampled(policy, env, seed, num_episodes=min(num_states, _MAX_SAMPLED)),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _DrawnStates:
    """Independent observations, and the whole episodes of some of them.

    Attributes:
        states: One observation of each episode, (n, O).
        earlier: Those of the steps before each, the latest first, (n, _NUM_EARLIER, O).
        steps: The steps at which they were taken, (n,).
        in_pool: Whether the episode of each is in the pool, (n,).
        num_discarded: Episodes that ended before their step.
        pool: Every observation of some episodes, (any number, O).
    """

    states: NDArray[np.float64]
    earlier: NDArray[np.float64]
    steps: NDArray[np.int64]
    in_pool: NDArray[np.bool_]
    num_discarded: int
    pool: NDArray[np.float64]


def _draw(
    policy: Policy, env: VectorEnv, seed: int, stream: Stream, num_states: int
) -> _DrawnStates:
    """Return observations of fresh episodes, each at a step that was drawn beforehand.

    Episodes are numbered; the seed and the step of an episode are drawn from its number alone, and
    the states of the lowest-numbered episodes that reach their step are taken. Which episode ends
    first, or is played first, therefore does not choose the states.

    Raises:
        InputError: If fewer than one episode in a hundred reaches its step.
    """
    horizon, group = horizon_of(env), env.num_envs
    recent: list[NDArray[np.float64]] = []
    steps: list[int] = []
    in_pool: list[bool] = []
    pool = np.empty((0, env.spec.obs_dim))
    num_discarded = 0
    for number in itertools.count() if num_states else ():
        generator = numpy_stream(seed, stream, number)
        num_episodes = group * -(-num_states // group)
        drawn = generator.integers(horizon, size=num_episodes)
        seeds = np.array(env_seeds(generator, num_episodes))
        found: list[NDArray[np.float64] | None] = [None] * num_episodes
        # Episodes with similar steps are played together, so that none waits for a longer one.
        for indices in np.argsort(drawn, kind="stable").reshape(-1, group):
            reached, seen = _play_to_steps(policy, env, seeds[indices].tolist(), drawn[indices])
            for index, obs in zip(indices, reached, strict=True):
                found[index] = obs
        pool = seen if number == 0 else pool
        of_pool = set(indices.tolist()) if number == 0 else set()
        for index, (step, obs) in enumerate(zip(drawn.tolist(), found, strict=True)):
            if len(recent) < num_states and obs is not None:
                recent.append(obs)
                steps.append(step)
                in_pool.append(index in of_pool)
            elif len(recent) < num_states:
                num_discarded += 1
        if len(recent) == num_states:
            break
        if num_discarded > 100 * (1 + len(recent)):
            raise InputError(
                f"visited_states must be 0 where episodes are so short for a horizon of {horizon}"
                f" steps: only {len(recent)} of {num_discarded} reached the step drawn for them,"
                f" got {num_states}"
            )
    history = np.array(recent).reshape(-1, 1 + _NUM_EARLIER, env.spec.obs_dim)
    return _DrawnStates(
        states=history[:, 0].copy(),
        earlier=history[:, 1:].copy(),
        steps=np.array(steps, np.int64),
        in_pool=np.array(in_pool, np.bool_),
        num_discarded=num_discarded,
        pool=pool,
    )


def record_sampled(
    policy: Policy, env: VectorEnv, seed: int, *, num_episodes: int
) -> SampledEpisodes | None:
    """Play whole clean episodes with the policy that samples its actions, for bounds on its return.

    Args:
        policy: Frozen; its head names the noise.
        env: Is reset; its number of environments is part of what a seed means.
        seed: Seed of the run; the stream of these episodes is used by nothing else.
        num_episodes: Least number of episodes to play; 0 for none.

    Returns:
        Exactly ``num_episodes``, or None where there are none or the policy has no noise.

    Raises:
        DivergenceError: If a simulation diverges.
    """
    silent = isinstance(policy.head, GaussianHead) and policy.head.std is None
    if silent or not num_episodes:
        return None
    horizon, group = horizon_of(env), env.num_envs
    left = np.arange(horizon, 0, -1)
    parts = []
    for number in range(-(-num_episodes // group)):
        generator = numpy_stream(seed, Stream.SAMPLED, number)
        drawn_N = generator.choice(horizon, size=group, p=left / left.sum())
        parts.append(_play_sampled(policy, env, drawn_N, generator))
    observations, steps, alive, returns = (
        np.concatenate(arrays)[:num_episodes] for arrays in zip(*parts, strict=True)
    )
    return SampledEpisodes(
        observations=observations, steps=steps, alive=alive, returns=returns, horizon=horizon
    )


def _play_sampled(
    policy: Policy, env: VectorEnv, drawn_N: NDArray[np.int64], generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64]]:
    """Play one episode per environment to its end.

    Returns:
        Observations at the drawn steps (0 where the episode ended earlier), those steps, whether
        they were reached, and the returns.
    """
    obs = env.reset(env_seeds(generator, env.num_envs))
    found, reached = np.zeros_like(obs), np.zeros(env.num_envs, np.bool_)
    returns, alive_N = np.zeros(env.num_envs), np.ones(env.num_envs, np.bool_)
    for step in range(horizon_of(env)):
        here = alive_N & (drawn_N == step)
        found[here], reached[here] = obs[here], True
        result = env.step(_sample(policy, obs, generator))
        returns += np.where(alive_N, result.reward, 0.0)
        alive_N &= ~(result.terminated | result.truncated)
        obs = result.obs
        if not alive_N.any():
            break
    return found, drawn_N, reached, returns


def _sample(policy: Policy, obs: NDArray[np.float64], generator: np.random.Generator) -> Array:
    """Return actions drawn from the policy's law at observations, (N, O)."""
    raw = policy.network(policy.state(obs, np.float32))
    return drawn_actions(policy, raw, draw_noise(policy, generator, raw.shape))


def _play_to_steps(
    policy: Policy, env: VectorEnv, seeds: list[int], drawn_N: NDArray[np.int64]
) -> tuple[list[NDArray[np.float64] | None], NDArray[np.float64]]:
    """Play one episode per environment to the largest drawn step.

    Returns:
        Per environment the observation at its step and those of the steps before, the latest first,
        (1 + _NUM_EARLIER, O), or None if its episode ended earlier; and every observation of the
        episodes, (any number, O).
    """
    found: list[NDArray[np.float64] | None] = [None] * env.num_envs
    obs = env.reset(seeds)
    recent = [obs.copy()] * (1 + _NUM_EARLIER)
    seen = []
    alive_N = np.ones(env.num_envs, np.bool_)
    for step in range(int(drawn_N.max()) + 1):
        recent = [obs.copy(), *recent[:-1]]
        for index in np.flatnonzero(alive_N & (drawn_N == step)):
            found[index] = np.stack([each[index] for each in recent])
        seen.append(obs[alive_N])
        result = env.step(play(policy, obs))
        alive_N &= ~(result.terminated | result.truncated)
        obs = result.obs
        if not alive_N.any():
            break
    return found, np.concatenate(seen)
