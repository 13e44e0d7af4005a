"""The states that a finished policy visits, recorded for certification.

N = environments, O = obs_dim.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from surefoot.envs.vector import VectorEnv
from surefoot.errors import InputError
from surefoot.policy import Policy
from surefoot.train.evaluate import horizon_of, play
from surefoot.train.streams import Stream, env_seeds, numpy_stream
from surefoot.visited import Visited


def record_visited(
    policy: Policy, env: VectorEnv, seed: int, *, num_states: int, num_pool: int = 4096
) -> Visited:
    """Play fresh episodes with the deterministic policy and record what it observes.

    Episodes are numbered; the seed and the step of an episode are drawn from its number alone, and
    the states of the lowest-numbered episodes that reach their step are taken. Which episode ends
    first, or is played first, therefore does not choose the states.

    Args:
        policy: Frozen.
        env: Is reset; its number of environments is part of what a seed means.
        seed: Of the run; the stream of these episodes is used by nothing else.
        num_states: Number of independent observations; 0 for no episodes at all.
        num_pool: Largest number of dependent observations.

    Raises:
        InputError: If fewer than one episode in a hundred reaches its step.
        DivergenceError: If a simulation diverges.
    """
    horizon, group = horizon_of(env), env.num_envs
    states: list[NDArray[np.float64]] = []
    steps: list[int] = []
    pool = np.empty((0, env.spec.obs_dim))
    num_discarded = 0
    for number in itertools.count() if num_states else ():
        generator = numpy_stream(seed, Stream.VISITED, number)
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
        for step, obs in zip(drawn.tolist(), found, strict=True):
            if len(states) < num_states and obs is not None:
                states.append(obs)
                steps.append(step)
            elif len(states) < num_states:
                num_discarded += 1
        if len(states) == num_states:
            break
        if num_discarded > 100 * (1 + len(states)):
            raise InputError(
                f"visited_states: only {len(states)} of {num_discarded} episodes reached the step"
                f" drawn for them; the episodes are too short for the horizon of {horizon} steps"
            )
    return Visited(
        independent=np.array(states).reshape(-1, env.spec.obs_dim),
        steps=np.array(steps, np.int64),
        num_discarded=num_discarded,
        pool=pool[:: max(1, -(-len(pool) // num_pool))],
    )


def _play_to_steps(
    policy: Policy, env: VectorEnv, seeds: list[int], drawn_N: NDArray[np.int64]
) -> tuple[list[NDArray[np.float64] | None], NDArray[np.float64]]:
    """Play one episode per environment to the largest drawn step.

    Returns:
        Per environment the observation at its step, or None if its episode ended earlier; and
        every observation of the episodes, (any number, O).
    """
    found: list[NDArray[np.float64] | None] = [None] * env.num_envs
    obs = env.reset(seeds)
    seen = []
    alive_N = np.ones(env.num_envs, np.bool_)
    for step in range(int(drawn_N.max()) + 1):
        for index in np.flatnonzero(alive_N & (drawn_N == step)):
            found[index] = obs[index].copy()
        seen.append(obs[alive_N])
        result = env.step(play(policy, obs))
        alive_N &= ~(result.terminated | result.truncated)
        obs = result.obs
        if not alive_N.any():
            break
    return found, np.concatenate(seen)
