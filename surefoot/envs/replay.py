"""Whether a task repeats itself, asked at the start: an interrupted run would find out too late."""

from collections.abc import Callable
from contextlib import closing

import numpy as np

from surefoot.envs.vector import BoxActions, EnvSpec, StepResult, VectorEnv
from surefoot.errors import InputError, ReplayError

_NUM_ENVS = 2
"""One environment may draw from a generator that another one shares."""


def check_replay(make: Callable[[int], VectorEnv]) -> None:
    """Refuse a task whose episodes cannot be taken up again by another process.

    Its second episode is stored after a step and replayed in new environments; both must then play
    on alike, into a third one.

    Args:
        make: From a number of environments to that many of the task; they are closed again.

    Raises:
        ReplayError: If the replay leads elsewhere, or the random stream cannot be stored.
    """
    with closing(make(_NUM_ENVS)) as env, closing(make(_NUM_ENVS)) as twin:
        actions = _some_actions(env.spec)
        env.reset(range(_NUM_ENVS))
        env.step(actions)
        env.reset()  # a later episode may remember the one before
        env.step(actions)
        try:
            twin.load_state_dict(env.state_dict())
        except InputError as error:
            raise ReplayError(f"{env.spec.env_id} cannot be replayed: {error}") from error
        same = _same(env.step(actions), twin.step(actions))
        if not same or not np.array_equal(env.reset(), twin.reset()):
            raise ReplayError(
                f"{env.spec.env_id} cannot be replayed: the steps after a replay are others"
                ", so the task is not deterministic (randomness outside its np_random, or"
                " memory of past episodes)"
            )


def _some_actions(spec: EnvSpec) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    actions = spec.actions
    if isinstance(actions, BoxActions):
        return np.tile(actions.centre, (_NUM_ENVS, 1))
    return np.full(_NUM_ENVS, actions.start)


def _same(one: StepResult, other: StepResult) -> bool:
    names = ("obs", "reward", "terminated", "truncated", "terminal_obs")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
