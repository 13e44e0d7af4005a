"""Whether an episode did the task: a predicate of the user's own, asked after the episode.

T = steps of the episode, O = obs_dim.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from surefoot.envs import function_of
from surefoot.envs.user_code import user_code
from surefoot.envs.vector import Floats
from surefoot.errors import UserCodeError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlayedEpisode:
    """A whole episode, as a predicate sees it.

    Attributes:
        observations: True observations, raw units, from the first one on, (T + 1, O); an adversary
            shows the controller others.
        rewards: Reward of each step, (T,).
        terminated: Whether the task ended the episode before its time.
    """

    observations: Floats
    rewards: Floats
    terminated: bool


Predicate = Callable[[PlayedEpisode], bool]
"""From an episode to whether it did the task."""


def success_predicate(env_module: str, name: str) -> Predicate:
    """Return the predicate that a module holds.

    Args:
        env_module: Module that registers the task: a name, or a path that ends in .py.
        name: Name of a function from a :class:`PlayedEpisode` to a bool.

    Raises:
        InputError: If the module cannot be imported, or has no such function.
    """
    function = function_of(env_module, name)

    def succeeds(episode: PlayedEpisode) -> bool:
        with user_code(lambda: f"success {name!r} of {env_module} failed"):
            answer: Any = function(episode)
            if not isinstance(answer, (bool, np.bool_)):  # how it looks is code of the user, too
                raise UserCodeError(f"success {name!r} must return a bool, got {answer!r:.60}")
        return bool(answer)

    return succeeds
